-- KEYS: places, expiries, as revoke.lua writes them. ARGV: a place, how many to read at most.
-- Returns {the place of the last token read, how many were read, {{token, millisecond it expires at}, ...}}: what was revoked
-- after the place and has not expired, in order.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local read = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local revoked = {}
for i = 1, #read, 2 do
  local expires = tonumber(redis.call('ZSCORE', KEYS[2], read[i]) or 0)
  if expires > now then revoked[#revoked + 1] = { read[i], expires } end
end
return { tonumber(read[#read] or ARGV[1]), #read / 2, revoked }
