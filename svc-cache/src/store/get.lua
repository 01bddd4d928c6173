-- ARGV: the most bytes to answer with, then keys. Returns for each key {value, milliseconds left}, or nil.
-- Keys whose values would go over the bound are answered as misses, which a cache may always do.
local left = tonumber(ARGV[1])
local found = {}
for i = 2, #ARGV do
  local name = prefix .. 'e:' .. ARGV[i]
  local entry = redis.call('HMGET', name, 'v', 't')
  found[i - 1] = false
  if entry[1] then
    if not indexed('e' .. ARGV[i], entry[2] and cmsgpack.unpack(entry[2]) or {}) then
      drop('e' .. ARGV[i])
    elseif #entry[1] <= left then
      left = left - #entry[1]
      found[i - 1] = { entry[1], redis.call('PTTL', name) }
    end
  end
end
return found
