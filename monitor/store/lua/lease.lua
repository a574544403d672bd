-- One evaluator at a time. A new holder gets a higher token; every write of an older one is refused.
-- KEYS: lease, meta   ARGV: holder, time to live in ms ('0' gives the lease back), binding ('' for none)
-- Returns the token, or '0' if another holds it or the group has moved on to other settings.
local held = redis.call('HMGET', KEYS[1], 'holder', 'token')
-- A lease that lives longer than any that is given was taken before this clock was set back: its holder would renew it.
local lasts, given = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if held[1] and held[1] ~= ARGV[1] and given > 0 and lasts > 4 * given then
  redis.call('DEL', KEYS[1])
  held = {}
end
if held[1] and held[1] ~= ARGV[1] then return '0' end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]); return '0' end
local binding = redis.call('HGET', KEYS[2], 'binding')
if ARGV[3] ~= '' and binding and binding ~= ARGV[3] then return '0' end
local token = held[2]
if not token then token = tostring(redis.call('HINCRBY', KEYS[2], 'token', 1)) end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'token', token)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return token
