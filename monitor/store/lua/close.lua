-- Close buckets: from here on no count can be added to them.
-- KEYS: lease, meta   ARGV: token, last bucket to close
-- Returns {'ok', closed, folded} | {'refused'}
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {'refused'} end
local closed = redis.call('HGET', KEYS[2], 'closed') or '-1'
if tonumber(ARGV[2]) > tonumber(closed) then
  closed = ARGV[2]
  redis.call('HSET', KEYS[2], 'closed', closed)
end
return {'ok', closed, redis.call('HGET', KEYS[2], 'folded') or '-1'}
