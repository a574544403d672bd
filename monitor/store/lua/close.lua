-- Close buckets: from here on no count can be added to them.
-- KEYS: lease, meta, leads   ARGV: token, last bucket to close
-- Returns {'ok', closed, folded} | {'refused'}
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {'refused'} end
local closed = redis.call('HGET', KEYS[2], 'closed') or '-1'
if tonumber(ARGV[2]) > tonumber(closed) then
  closed = ARGV[2]
  redis.call('HSET', KEYS[2], 'closed', closed)
end
-- When a bucket that is closed was first reached matters to nobody any more.
for _, bucket in ipairs(redis.call('ZRANGE', KEYS[3], 0, 500)) do
  if tonumber(bucket) <= tonumber(closed) then redis.call('ZREM', KEYS[3], bucket) end
end
return {'ok', closed, redis.call('HGET', KEYS[2], 'folded') or '-1'}
