-- ARGV: owner, fingerprint, lease in microseconds, retention in milliseconds.
-- Replies: acquired fence attempt, 1 if taken over; running fence remaining fingerprint; done record.

local owner, fingerprint, lease, retention = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local found = load()
if found.garbage then
  return garbage()
end
if found.state == 'V' or found.state == 'O' then
  return show('done', found)
end
local fence, attempt = now, 1
if found.state == 'R' then
  if found.owner == owner then
    return {'acquired', text(found.fence), text(found.attempt), '0'}
  end
  local remaining = math.max(0, found.ends - now)
  local other_call = fingerprint ~= '' and found.fingerprint ~= ''
    and fingerprint ~= found.fingerprint
  if remaining > 0 or other_call then
    if not found.waited then
      redis.call('HSET', key, 'w', '1')
    end
    return {'running', text(found.fence), text(remaining), found.fingerprint}
  end
  if fingerprint == '' then
    fingerprint = found.fingerprint
  end
end
if found.state then
  fence = math.max(found.fence + 1, now)
  attempt = found.attempt + 1
end
redis.call('HSET', key, 's', 'R', 'o', owner, 'n', text(fence), 'a', text(attempt),
  'f', fingerprint, 't', text(now), 'e', text(now + lease), 'l', text(lease))
redis.call('PEXPIRE', key, retention)
return {'acquired', text(fence), text(attempt), found.state == 'R' and '1' or '0'}
