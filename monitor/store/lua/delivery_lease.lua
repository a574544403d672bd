-- One process at a time sends to a sink. A new holder gets a higher token, and an older one moves the cursor no more.
-- KEYS: the sink's lease, the sink's record   ARGV: holder, time to live in ms ('0' gives the lease back)
-- Returns the token, or '0' if another holds it.
local held = redis.call('HMGET', KEYS[1], 'holder', 'token')
-- A lease that lives longer than any that is given was taken before this clock was set back: its holder would renew it.
local lasts, given = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if held[1] and held[1] ~= ARGV[1] and given > 0 and lasts > 4 * given then
  redis.call('DEL', KEYS[1])
  held = {}
end
if held[1] and held[1] ~= ARGV[1] then return '0' end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]); return '0' end
local token = held[2]
if not token then token = tostring(redis.call('HINCRBY', KEYS[2], 'token', 1)) end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'token', token)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return token
