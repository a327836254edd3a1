-- Put in front of each script: reads the record at KEYS[1] and shows it to the caller.
-- A record is a hash: s state, o owner, n fence, a attempt, f fingerprint, t since when,
-- e end of lease, l lease, w somebody waits, p payload. Times are microseconds of this server.
-- States: R running, V value, O opaque, X released.

local key = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Lua would print large numbers with 14 digits.
local function text(number)
  return string.format('%.0f', number)
end

-- What is no whole number in the range of exact ones is nothing.
local function whole(field)
  local number = field and tonumber(field)
  return number and number >= 0 and number <= 2^53 and number % 1 == 0 and number or nil
end

local function load()
  local f = redis.call('HMGET', key, 's', 'o', 'n', 'a', 'f', 't', 'e', 'l', 'w', 'p')
  if not f[1] then
    return {}
  end
  local found = {
    state = f[1], owner = f[2], fence = whole(f[3]), attempt = whole(f[4]),
    fingerprint = f[5], since = whole(f[6]), ends = whole(f[7]), lease = whole(f[8]),
    waited = f[9], payload = f[10] or '',
  }
  local running = found.state == 'R'
  found.garbage = not (found.owner and found.fence and found.attempt and found.fingerprint
    and found.since and (running and found.ends and found.lease
    or found.state == 'V' or found.state == 'O' or found.state == 'X'))
  -- After a leap back of the clock a lease ends within its length all the same.
  if running and not found.garbage and found.ends > now + found.lease then
    found.ends = now + found.lease
    redis.call('HSET', key, 'e', text(found.ends))
  end
  return found
end

local function garbage()
  return redis.error_reply('MESHHOOK the hash at this key is not a record of meshhook')
end

local function show(word, found)
  if not found.state or found.state == 'X' then
    return {word}
  end
  local remaining = redis.call('PTTL', key) * 1000
  if found.state == 'R' then
    remaining = found.ends - now
  end
  return {
    word, found.state, found.payload, found.fingerprint, text(found.fence), text(found.attempt),
    text(math.max(0, now - found.since)), text(math.max(0, remaining)),
  }
end
