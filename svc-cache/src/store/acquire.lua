-- ARGV: key, a fresh lease id, milliseconds to hold it, tags.
-- Returns -1 if the lease is given, else how many milliseconds to wait before looking again: 0 if there is an entry already.
local key, lease, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local tags = tags_from(4)

local entry = prefix .. 'e:' .. key
if redis.call('EXISTS', entry) == 1 and indexed('e' .. key, tags_of(entry)) then return 0 end

local name = prefix .. 'l:' .. key
local left = redis.call('PTTL', name)
if left > 0 and indexed('l' .. key, tags_of(name)) then return left end

drop('l' .. key)
redis.call('HSET', name, 'i', lease)
if #tags > 0 then redis.call('HSET', name, 't', cmsgpack.pack(tags)) end
redis.call('PEXPIRE', name, ttl)
index('l' .. key, tags, now + ttl)
return -1
