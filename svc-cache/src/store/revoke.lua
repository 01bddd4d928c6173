-- KEYS: places, expiries, the last place, events; all in one cluster slot.
--
--   places    zset  a revoked token by its place in the order of changes
--   expiries  zset  the same token by the millisecond since 1970 at which it expires
--   last      string  the last place that was given
--   events    zset  audit events that have not been shipped
--
-- None of them has a time to live: a Redis that evicts what is volatile must not evict these. Tokens that have expired go
-- whenever one comes. A place is a moment in microseconds where the clock allows, and always larger than the last: a failover
-- that loses changes gives none of their places to others, so nobody who follows steps over a new one.
-- ARGV: token, the millisecond it expires at, the audit event. Returns 1 if that is news; only then there is something to keep of it.
local PURGE_MAX = 256
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local token, expires = ARGV[1], tonumber(ARGV[2])

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, PURGE_MAX)) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('ZREM', KEYS[2], gone)
end

local known = redis.call('ZSCORE', KEYS[2], token)
if expires <= now or (known and tonumber(known) >= expires) then return 0 end
local place = math.max(clock[1] * 1000000 + clock[2], (redis.call('GET', KEYS[3]) or 0) + 1)
redis.call('SET', KEYS[3], string.format('%.0f', place))
redis.call('ZADD', KEYS[1], string.format('%.0f', place), token)
redis.call('ZADD', KEYS[2], string.format('%.0f', expires), token)
redis.call('ZADD', KEYS[4], string.format('%.0f', place), ARGV[3])
return 1
