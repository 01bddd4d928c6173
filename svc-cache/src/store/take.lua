-- KEYS[1]: a bucket, the moment at which it is full again in microseconds since 1970 (GCRA's theoretical arrival time); absent
-- when it is full, so that a bucket that nobody takes from costs nothing.
-- ARGV: tokens, tokens that come in during a period, the period in microseconds, the most the bucket holds.
-- Returns {1 if taken, tokens left, microseconds until the take would be allowed, microseconds until the bucket is full}.
--
-- Moments are doubles: at today's size they are good to a quarter of a microsecond, which blurs nothing below a million tokens
-- a second. SLACK keeps that from refusing the last token of a bucket.
local SLACK = 0.5
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local tokens, burst = tonumber(ARGV[1]), tonumber(ARGV[4])
local each = ARGV[3] / ARGV[2]
local room = burst * each

local kept = math.max(tonumber(redis.call('GET', KEYS[1]) or now) - now, 0)
-- A bucket that was larger or slower the last time is an empty one of today's size.
local ahead = math.min(kept, room)
local wait = ahead + tokens * each - room
local taken = wait <= SLACK
if taken then ahead = ahead + tokens * each end
if taken or ahead < kept then
  redis.call('SET', KEYS[1], string.format('%.2f', now + ahead), 'PX', math.max(math.ceil(ahead / 1000), 1))
end
local left = math.max(math.floor((room - ahead + SLACK) / each), 0)
return { taken and 1 or 0, math.min(left, burst), taken and 0 or math.ceil(wait), math.ceil(ahead) }
