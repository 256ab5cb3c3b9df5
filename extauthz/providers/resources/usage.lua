-- What a tenant used today; with a cost, after adding that, once for each idempotency key.
--
-- KEYS  1 the tenant's hash   2 the idempotency key (with a cost only)
-- ARGV  1 cost in micro-units; empty: only look   2 microseconds (tests)
-- Gives {conflict, requests, cost}: conflict 1 where the key stands for another cost; nothing is then added.
--
-- A key holds its cost and the day it came in, and counts to the end of the next day.

local now = clock(ARGV[2])
local account = open(KEYS[1], now)
if ARGV[1] == '' then return {0, account.requests, account.cost} end

local known = redis.call('GET', KEYS[2])
if known then
  local cost, day = string.match(known, '^(%d+) (%d+)$')
  if day and math.abs(tonumber(day) - account.day) <= 1 then
    return {cost == ARGV[1] and 0 or 1, account.requests, account.cost}
  end
end

account.cost = least(account.cost + tonumber(ARGV[1]), LARGEST_COUNT)
save(KEYS[1], account)
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. digits(account.day), 'PX', KEPT_MS)
return {0, account.requests, account.cost}
