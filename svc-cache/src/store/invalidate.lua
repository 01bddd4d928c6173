-- ARGV: tags. Removes every entry and lease under them; returns how many entries that were.
local removed = 0
for _, tag in ipairs(ARGV) do
  local name = prefix .. 't:' .. tag
  for _, member in ipairs(redis.call('ZRANGE', name, 0, -1)) do
    local gone = drop(member)
    if string.sub(member, 1, 1) == 'e' then removed = removed + gone end
  end
  redis.call('DEL', name)
end
return removed
