-- ARGV: key, value, milliseconds to keep it, lease id or '', tags.
-- Returns 0 if written, -1 if the lease is lost, n > 0 if the n-th tag is not one of the lease's.
local key, value, ttl, lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local tags = tags_from(5)

if lease ~= '' then
  local name = prefix .. 'l:' .. key
  if redis.call('HGET', name, 'i') ~= lease then return -1 end
  local leased = tags_of(name)
  if not indexed('l' .. key, leased) then return -1 end
  -- An invalidation of a tag the lease was not taken for would not have broken it.
  local covered = {}
  for _, tag in ipairs(leased) do covered[tag] = true end
  for n, tag in ipairs(tags) do
    if not covered[tag] then return n end
  end
end

-- A write without a lease is newer than what any lease holder has read: it breaks the lease too.
drop('l' .. key)
drop('e' .. key)
local name = prefix .. 'e:' .. key
redis.call('HSET', name, 'v', value)
if #tags > 0 then redis.call('HSET', name, 't', cmsgpack.pack(tags)) end
redis.call('PEXPIRE', name, ttl)
index('e' .. key, tags, now + ttl)
return 0
