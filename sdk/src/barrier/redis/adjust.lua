-- Adds to numbers, all or none. KEYS: one for each. ARGV: four for each: 'field' or 'string',
-- the field, what to add, the least that it may be or ''.
-- A number in Lua is exact up to this size.
local exact_max = 9007199254740992
local now = {}
local answer = {}

local function name(i)
  return #KEYS[i] .. ':' .. KEYS[i] .. ARGV[i * 4 - 3] .. ARGV[i * 4 - 2]
end

for i = 1, #KEYS do
  local kind, field = ARGV[i * 4 - 3], ARGV[i * 4 - 2]
  local by, least = tonumber(ARGV[i * 4 - 1]), ARGV[i * 4]
  local before = now[name(i)]
  if not before then
    local stored
    if kind == 'field' then
      stored = redis.call('HGET', KEYS[i], field)
    else
      stored = redis.call('GET', KEYS[i])
    end
    stored = stored or '0'
    before = stored:match('^%-?%d+$') and tonumber(stored)
    if not before then
      return redis.error_reply('ERR ' .. KEYS[i] .. ' ' .. field .. ' is not a whole number')
    end
  end
  local after = before + by
  if math.abs(after) > exact_max or math.abs(before) > exact_max then
    return redis.error_reply('ERR ' .. KEYS[i] .. ' ' .. field .. ' would be too large')
  end
  if least ~= '' and after < tonumber(least) then
    return redis.error_reply(string.format('REFUSED %s %s would be %.0f, at least %s is needed',
      KEYS[i], field, after, least))
  end
  now[name(i)] = after
end

for i = 1, #KEYS do
  local kind, field, by = ARGV[i * 4 - 3], ARGV[i * 4 - 2], ARGV[i * 4 - 1]
  local after
  if kind == 'field' then
    after = redis.call('HINCRBY', KEYS[i], field, by)
  else
    after = redis.call('INCRBY', KEYS[i], by)
  end
  answer[i] = string.format('%.0f', after)
end
return table.concat(answer, ',')
