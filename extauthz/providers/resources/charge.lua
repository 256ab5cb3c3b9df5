-- One request counted in all dimensions, or in none. The same arithmetic as extauthz/model/bucket.py.
--
-- KEYS  1 the tenant's hash
-- ARGV  1-4 rate, burst, requests and cost (micro-units) a day; empty: unlimited
--       5 cost of this request   6-9 '1' where quota, rate, burst, cost block   10 '1': commit   11 microseconds (tests)
-- Gives {charged, to midnight, requests, cost, rate, burst, rate ahead, burst ahead}: the counts before this request,
-- deficits as of now; ahead is for how long the bucket's time stands still.

local RATE_PERIOD_US = 60000000
local BURST_PERIOD_US = 1000000

-- What is missing in a bucket now, the time up to which that holds, and how far that lies ahead of now.
local function drained(deficit, at, limit, period, now)
  if not deficit or not at or not limit then return 0, now, 0 end
  local elapsed = now - at
  if elapsed >= period then return 0, now, 0 end
  local capacity = limit * period
  deficit = least(deficit, capacity)
  if elapsed < -period then return deficit, now, 0 end -- this clock was set back: go by it from here
  if elapsed < 0 then return deficit, at, -elapsed end -- another server's clock: time stands still until it is reached
  local left = deficit - elapsed * limit
  return left > 0 and left or 0, now, 0
end

local now = clock(ARGV[11])
local account = open(KEYS[1], now)
local n_rate, n_burst, quota, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local cost = tonumber(ARGV[5])
local rate, rate_at, rate_ahead = drained(account.rate, account.rate_at, n_rate, RATE_PERIOD_US, now)
local burst, burst_at, burst_ahead = drained(account.burst, account.burst_at, n_burst, BURST_PERIOD_US, now)

local blocked = (ARGV[6] == '1' and quota and account.requests >= quota)
  or (ARGV[7] == '1' and n_rate and rate > (n_rate - 1) * RATE_PERIOD_US)
  or (ARGV[8] == '1' and n_burst and burst > (n_burst - 1) * BURST_PERIOD_US)
  or (ARGV[9] == '1' and budget and (account.cost + cost > budget or budget == 0))

local answer = {
  blocked and 0 or 1, (account.day + 1) * DAY_US - now,
  account.requests, account.cost, rate, burst, rate_ahead, burst_ahead
}
if blocked or ARGV[10] ~= '1' then return answer end

account.requests = least(account.requests + 1, LARGEST_COUNT)
account.cost = least(account.cost + cost, LARGEST_COUNT)
if n_rate then
  account.rate, account.rate_at = least(rate + RATE_PERIOD_US, n_rate * RATE_PERIOD_US), rate_at
end
if n_burst then
  account.burst, account.burst_at = least(burst + BURST_PERIOD_US, n_burst * BURST_PERIOD_US), burst_at
end
save(KEYS[1], account)
return answer
