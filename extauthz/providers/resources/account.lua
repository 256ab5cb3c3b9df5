-- One tenant's counts: read, brought to today, written. The beginning of every script here.
-- See docs/decisions/0010-protection-in-redis.md. All figures are whole numbers below 2^53, which doubles hold exactly.

local DAY_US = 86400000000
local KEPT_MS = 172800000 -- two days: longer than any count matters
local LARGEST_COUNT = 9007199254740991

local FIELDS = {
  'day', 'requests', 'cost', 'other_day', 'other_requests', 'other_cost', 'rate', 'rate_at', 'burst', 'burst_at'
}

-- Microseconds since 1970 on this server's clock, or as given (by tests alone).
local function clock(given)
  if given then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A whole number in digits: Lua itself would write 1e+15.
local function digits(number)
  return string.format('%.0f', number)
end

local function least(a, b)
  return a < b and a or b
end

-- Go to the counts of `today`. The day left is kept beside it: a clock that goes back over midnight, as after a failover,
-- finds the counts it had.
local function turn(account, today)
  local day, requests, cost = account.day, account.requests or 0, account.cost or 0
  if account.other_day == today then
    account.requests, account.cost = account.other_requests or 0, account.other_cost or 0
  else
    account.requests, account.cost = 0, 0
  end
  account.day = today
  if day then
    account.other_day, account.other_requests, account.other_cost = day, requests, cost
  end
end

local function open(key, now)
  local values = redis.call('HMGET', key, unpack(FIELDS))
  local account = {}
  for index, name in ipairs(FIELDS) do
    account[name] = tonumber(values[index]) -- nil where there is none
  end
  local today = math.floor(now / DAY_US)
  if account.day ~= today then turn(account, today) end
  return account
end

local function save(key, account)
  local values = {}
  for _, name in ipairs(FIELDS) do
    if account[name] then
      values[#values + 1] = name
      values[#values + 1] = digits(account[name])
    end
  end
  redis.call('HSET', key, unpack(values))
  redis.call('PEXPIRE', key, KEPT_MS)
end
