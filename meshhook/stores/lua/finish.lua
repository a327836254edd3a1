-- ARGV: owner, new state, payload, retention, the least of it where somebody waits (both in
-- milliseconds). Replies: stored, 1 if it was stored before; lost record.

local owner, state, payload = ARGV[1], ARGV[2], ARGV[3]
local retention, least = tonumber(ARGV[4]), tonumber(ARGV[5])
local found = load()
if found.garbage then
  return garbage()
end
if not found.state or found.owner ~= owner then
  return show('lost', found)
end
if found.state == 'X' and state ~= 'X' then
  return {'lost'}
end
if found.state ~= 'R' then
  return {'stored', '1'}
end
if found.waited then
  retention = math.max(retention, least)
end
redis.call('HSET', key, 's', state, 't', text(now))
if state ~= 'X' then
  redis.call('HSET', key, 'p', payload)
end
redis.call('HDEL', key, 'e', 'l', 'w')
redis.call('PEXPIRE', key, text(retention))
return {'stored', '0'}
