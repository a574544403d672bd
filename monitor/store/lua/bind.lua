-- Binds a group to the settings of its evidence. Only the first call binds it; later ones return the binding.
-- KEYS: meta   ARGV: binding, settings (text), bucket_ms, artifact
-- Returns {binding, settings} as they are now.
local held = redis.call('HMGET', KEYS[1], 'binding', 'settings', 'artifact')
if held[1] then return {held[1], held[2]} end
-- A group of an earlier release knows its artifact alone.
if held[3] and held[3] ~= ARGV[4] then return {'', held[3]} end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'binding', ARGV[1], 'settings', ARGV[2], 'bucket_ms', ARGV[3], 'artifact', ARGV[4],
  'since', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
return {ARGV[1], ARGV[2]}
