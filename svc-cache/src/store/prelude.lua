-- What every script of the cache begins with. KEYS[1] is the prefix of the caller's namespace; all keys of a namespace lie in
-- one cluster slot, which is why a script may form further keys from it.
--
--   <prefix>e:<key>  hash  v = value, t = its tags (absent without tags)     lives as long as the entry
--   <prefix>l:<key>  hash  i = lease id, t = its tags                        lives as long as the lease
--   <prefix>t:<tag>  zset  'e<key>' and 'l<key>' by the time they expire     lives as long as its longest member
--
-- An entry or lease that its tags' index does not hold could not be found by an invalidation, because Redis evicted the index
-- or the index was trimmed. It is treated as gone.
local prefix = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The most members of one tag. An invalidation works through all of them while Redis serves nobody else.
local INDEX_MEMBERS_MAX = 4096

local function tags_of(name)
  local packed = redis.call('HGET', name, 't')
  return packed and cmsgpack.unpack(packed) or {}
end

-- Whether the index of each of the tags holds the member.
local function indexed(member, tags)
  for _, tag in ipairs(tags) do
    if not redis.call('ZSCORE', prefix .. 't:' .. tag, member) then return false end
  end
  return true
end

-- Removes an entry ('e<key>') or a lease ('l<key>') and what the index knows of it. Returns 1 if it was there.
local function drop(member)
  local name = prefix .. string.sub(member, 1, 1) .. ':' .. string.sub(member, 2)
  for _, tag in ipairs(tags_of(name)) do
    redis.call('ZREM', prefix .. 't:' .. tag, member)
  end
  return redis.call('DEL', name)
end

-- Puts a member under its tags. Expired members go whenever a member comes; above the bound those that expire first go, with
-- the entries they stand for.
local function index(member, tags, expires)
  for _, tag in ipairs(tags) do
    local name = prefix .. 't:' .. tag
    redis.call('ZREMRANGEBYSCORE', name, '-inf', now)
    redis.call('ZADD', name, expires, member)
    if now + redis.call('PTTL', name) < expires then redis.call('PEXPIREAT', name, expires) end
    local excess = redis.call('ZCARD', name) - INDEX_MEMBERS_MAX
    if excess > 0 then
      for _, first in ipairs(redis.call('ZRANGE', name, 0, excess - 1)) do
        drop(first)
        redis.call('ZREM', name, first)
      end
    end
  end
end

-- The tags in ARGV from the given position on.
local function tags_from(position)
  local tags = {}
  for i = position, #ARGV do tags[#tags + 1] = ARGV[i] end
  return tags
end
