-- Acknowledges a firing alert until this episode of it ends.
-- KEYS: the alert's key, acknowledged
-- ARGV: fingerprint, author, reason, now (ms)
-- Returns {'ok', episode} | {'gone'} if there is no such alert | {'over'} if it does not fire
local held = redis.call('HMGET', KEYS[1], 'status', 'episode')
if not held[1] then return {'gone'} end
if held[1] ~= 'firing' then return {'over'} end
local said = {episode = held[2], author = ARGV[2], reason = ARGV[3], at_ms = tonumber(ARGV[4])}
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(said))
return {'ok', held[2]}
