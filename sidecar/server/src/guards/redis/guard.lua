-- One operation on one guard, by the server's clock.
--
--   KEYS[1]  the guard
--   ARGV     operation, token, how long a fencing number outlives its last holder, then
--            acquire: lease, fingerprint, mode   extend: lease   complete: ttl, result
--
-- A string is a guard in set_nx mode: 'h' and its token while it is held, 'd' and the
-- token of who completed it afterwards. A hash is the full record. Both expire by
-- themselves, never before what they say has run out. A key stays what it is until it
-- expires, whichever mode an acquire asks for.

local key, operation, token = KEYS[1], ARGV[1], ARGV[2]
local fencing_kept_ms = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.call('TYPE', key).ok

-- Lua would write large numbers with an exponent.
local function digits(number)
  return string.format('%.0f', number)
end

local function set_nx()
  local value = redis.call('GET', key)
  if operation == 'acquire' then
    local lease_ms = tonumber(ARGV[4])
    if not value then
      redis.call('SET', key, 'h' .. token, 'NX', 'PX', ARGV[4])
    elseif value == 'h' .. token then
      if redis.call('PTTL', key) < lease_ms then
        redis.call('PEXPIRE', key, ARGV[4])
      end
    elseif string.sub(value, 1, 1) == 'd' then
      return { 'done', '' }
    else
      return { 'busy', redis.call('PTTL', key) }
    end
    return { 'acquired', 0, 0 }
  end
  if value == 'd' .. token and operation == 'complete' then
    return { 'held' }
  end
  if value ~= 'h' .. token then
    return { 'lost' }
  end
  if operation == 'extend' then
    redis.call('PEXPIRE', key, ARGV[4])
  elseif operation == 'complete' then
    redis.call('SET', key, 'd' .. token, 'PX', ARGV[4])
  elseif operation == 'release' then
    redis.call('DEL', key)
  end
  return { 'held' }
end

local record = { state = 'absent', fencing = 0, fencing_kept_until = 0 }

local function load()
  local fields = redis.call('HGETALL', key)
  for index = 1, #fields, 2 do
    record[fields[index]] = fields[index + 1]
  end
  for _, name in ipairs({ 'fencing', 'fencing_kept_until', 'deadline', 'done_until' }) do
    record[name] = tonumber(record[name] or 0)
  end
  if record.state == 'done' and record.done_until <= now then
    record.state = 'absent'
  end
  if record.state ~= 'done' and record.fencing_kept_until <= now then
    record.state, record.fencing = 'absent', 0
  end
end

local function keep_fencing_after(last_held)
  record.fencing_kept_until = math.max(record.fencing_kept_until, last_held + fencing_kept_ms)
end

local function save()
  local expires = record.fencing_kept_until
  local fields = {
    'state', record.state,
    'fencing', digits(record.fencing),
    'fencing_kept_until', digits(record.fencing_kept_until),
  }
  local function add(...)
    for _, field in ipairs({ ... }) do
      fields[#fields + 1] = field
    end
  end
  if record.state ~= 'absent' then
    add('token', record.token, 'fingerprint', record.fingerprint)
  end
  if record.state == 'held' then
    add('mode', record.mode, 'deadline', digits(record.deadline), 'takeover', record.takeover)
  elseif record.state == 'done' then
    add('result', record.result, 'done_until', digits(record.done_until))
    expires = math.max(expires, record.done_until)
  end
  redis.call('DEL', key)
  redis.call('HSET', key, unpack(fields))
  redis.call('PEXPIREAT', key, digits(expires))
end

local function acquired()
  keep_fencing_after(record.deadline)
  save()
  return { 'acquired', record.fencing, tonumber(record.takeover) }
end

local function acquire()
  local deadline = now + tonumber(ARGV[4])
  local fingerprint, mode = ARGV[5], ARGV[6]
  if mode == 'set_nx' then
    fingerprint = ''
  end
  local takeover = '0'
  if record.state ~= 'absent' then
    -- An empty fingerprint on either side turns the comparison off.
    if fingerprint ~= '' and record.fingerprint ~= '' and fingerprint ~= record.fingerprint then
      return { 'mismatch' }
    end
    if record.state == 'done' then
      return { 'done', record.result }
    end
    if record.token == token then
      record.deadline = math.max(record.deadline, deadline)
      return acquired()
    end
    if record.deadline > now then
      return { 'busy', record.deadline - now }
    end
    takeover = '1'
    if fingerprint == '' then
      fingerprint = record.fingerprint
    end
  end
  record.state, record.mode, record.token = 'held', mode, token
  record.fingerprint, record.deadline, record.takeover = fingerprint, deadline, takeover
  record.fencing = record.fencing + 1
  return acquired()
end

local function full_record()
  load()
  if operation == 'acquire' then
    return acquire()
  end
  if operation == 'complete' and record.state == 'done' and record.token == token then
    return { 'held' }
  end
  -- Past its deadline, too: nobody took over, so the token is still the holder.
  if record.state ~= 'held' or record.token ~= token then
    return { 'lost' }
  end
  if operation == 'extend' then
    record.deadline = now + tonumber(ARGV[4])
    keep_fencing_after(record.deadline)
  elseif operation == 'complete' then
    record.state, record.done_until = 'done', now + tonumber(ARGV[4])
    record.result = record.mode == 'set_nx' and '' or ARGV[5]
    keep_fencing_after(now)
  elseif operation == 'release' then
    record.state = 'absent'
    keep_fencing_after(now)
  end
  save()
  return { 'held' }
end

if kind == 'string' or (kind == 'none' and operation == 'acquire' and ARGV[6] == 'set_nx') then
  return set_nx()
end
return full_record()
