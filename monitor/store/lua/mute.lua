-- One more mute. Those that have been over for long are forgotten, and of the others that are over the earliest, if there
-- are very many.
-- KEYS: mutes
-- ARGV: id, the mute (JSON), now (ms), how many may be in force, how many are kept at all, for how long after their end
-- Returns {'ok'} | {'full'}
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return {'ok'} end
local now, kept = tonumber(ARGV[3]), tonumber(ARGV[6])
local held = redis.call('HGETALL', KEYS[1])
local over, force = {}, 0
for n = 1, #held, 2 do
  local ends = cjson.decode(held[n + 1]).ends_ms
  if ends + kept <= now then
    redis.call('HDEL', KEYS[1], held[n])
  elseif ends <= now then
    over[#over + 1] = {ends, held[n]}
  else
    force = force + 1
  end
end
if force >= tonumber(ARGV[4]) then return {'full'} end
table.sort(over, function(a, b) return a[1] < b[1] end)
for n = 1, force + #over + 1 - tonumber(ARGV[5]) do redis.call('HDEL', KEYS[1], over[n][2]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {'ok'}
