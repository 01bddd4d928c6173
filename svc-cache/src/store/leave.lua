-- KEYS[1]: the audit events that have not been shipped, by the moment they were written. ARGV: an event, how many may lie there.
-- Returns 1 if it was left. Only for events without an effect: those that have one are written with it, however many there are.
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
local clock = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.0f', clock[1] * 1000000 + clock[2]), ARGV[1])
return 1
