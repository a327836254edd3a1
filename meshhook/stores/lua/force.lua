-- ARGV: expected fence or nothing, how long to keep the tombstone in milliseconds.
-- Replies: stored, 1 if there was nothing to clear; conflict record.

local expected, tombstone = ARGV[1], ARGV[2]
-- An operator must get rid of whatever is here, also of what is no record.
if expected == '' and redis.call('TYPE', key).ok ~= 'hash' then
  return {'stored', text(1 - redis.call('DEL', key))}
end
local found = load()
if expected == '' and (found.garbage or not found.state) then
  redis.call('DEL', key)
  return {'stored', '0'}
end
if found.garbage then
  return garbage()
end
if expected ~= '' and (not found.state or text(found.fence) ~= expected) then
  return show('conflict', found)
end
redis.call('HSET', key, 's', 'X', 'o', '', 't', text(now))
redis.call('HDEL', key, 'p', 'e', 'l', 'w')
redis.call('PEXPIRE', key, tombstone)
return {'stored', '0'}
