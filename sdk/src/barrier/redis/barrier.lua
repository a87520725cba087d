-- One call of a saga. Everything is decided before the effect runs, and nothing comes in
-- between, because a script has Redis to itself.
--
-- KEYS: the row (a hash of the step: phase, phase:attempt, phase:output), then the effect's.
-- ARGV: phase, what it undoes or '', attempt, kept_ms, output_max_bytes, then the effect's.

local function effect(KEYS, ARGV)
@EFFECT@
end

local row = KEYS[1]
local phase, first, attempt = ARGV[1], ARGV[2], tonumber(ARGV[3])
local kept_ms, output_max_bytes = ARGV[4], tonumber(ARGV[5])

local function record(...)
  redis.call('HSET', row, ...)
  redis.call('PEXPIRE', row, kept_ms)
end

local own = redis.call('HMGET', row, phase, phase .. ':attempt', phase .. ':output')
if own[1] == 'done' then
  return {'repeated', own[3] or ''}
end
if own[1] == 'fenced' then
  return {'too_late'}
end
if own[1] == 'refused' and attempt <= tonumber(own[2]) then
  return {'refused_before', own[3] or ''}
end

if first ~= '' and redis.call('HGET', row, first) ~= 'done' then
  record(first, 'fenced', phase, 'done')
  return {'null_undo'}
end
if phase == 'confirm' and redis.call('HGET', row, 'try') ~= 'done' then
  return {'nothing_to_confirm'}
end

local keys, arguments = {}, {}
for i = 2, #KEYS do keys[i - 1] = KEYS[i] end
for i = 6, #ARGV do arguments[i - 5] = ARGV[i] end
local ran, answer = pcall(effect, keys, arguments)

local failure
if not ran then
  -- What redis.call raises is a table from Redis 7 on, and a string before.
  failure = type(answer) == 'table' and answer.err or answer
elseif type(answer) == 'table' and answer.err then
  failure = answer.err
end
if failure then
  local reason = tostring(failure):match('^REFUSED ?(.*)$')
  if not (ran and reason) then
    return {'failed', tostring(failure)}
  end
  if #reason > output_max_bytes then
    return {'refusal_too_large', tostring(#reason)}
  end
  if phase == 'action' or phase == 'try' then
    record(phase, 'refused', phase .. ':attempt', attempt, phase .. ':output', reason)
  end
  return {'refused', reason}
end

-- The effect has happened and cannot be taken back, so from here on it is recorded.
local output = ''
if type(answer) == 'table' and answer.ok then
  output = answer.ok
elseif type(answer) == 'number' then
  output = string.format('%.0f', answer)
elseif answer and answer ~= true then
  output = tostring(answer)
end
if #output > output_max_bytes then
  record(phase, 'done')
  return {'output_too_large', tostring(#output)}
end
record(phase, 'done', phase .. ':output', output)
return {'done', output}
