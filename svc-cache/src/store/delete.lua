-- ARGV: key. Removes the entry and breaks its lease.
drop('l' .. ARGV[1])
return drop('e' .. ARGV[1])
