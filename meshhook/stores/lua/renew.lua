-- ARGV: owner, lease in microseconds, retention in milliseconds.
-- Replies: renewed lease; lost record.

local owner, lease, retention = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found = load()
if found.garbage then
  return garbage()
end
if found.state ~= 'R' or found.owner ~= owner then
  return show('lost', found)
end
redis.call('HSET', key, 'e', text(now + lease), 'l', text(lease))
redis.call('PEXPIRE', key, text(math.max(redis.call('PTTL', key), retention)))
return {'renewed', text(lease)}
