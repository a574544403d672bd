-- End a mute now. It stays readable for a while, as what came and went under it is not told.
-- KEYS: mutes
-- ARGV: id, now (ms)
-- Returns 1, or 0 if there is none that is in force.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held then return 0 end
local now = tonumber(ARGV[2])
local mute = cjson.decode(held)
if mute.ends_ms <= now then return 0 end
-- Only this number changes; what people wrote stays letter by letter.
local text, n = string.gsub(held, '"ends_ms": *%d+', '"ends_ms": ' .. string.format('%.0f', now), 1)
if n == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], text)
return 1
