-- Take a partition: raise its epoch, so that every earlier owner is refused, and learn where to read on.
-- KEYS: partitions   ARGV: now_ms, then for each partition: name, first offset where nothing is stored
-- Returns for each partition: epoch, next offset, bucket, 1 if nothing was stored, recent records, bad ones of them.
local reply = {}
for i = 2, #ARGV, 2 do
  local name = ARGV[i]
  local fresh = redis.call('HSETNX', KEYS[1], 'next:' .. name, ARGV[i + 1])
  local epoch = redis.call('HINCRBY', KEYS[1], 'epoch:' .. name, 1)
  redis.call('HSETNX', KEYS[1], 'bucket:' .. name, '-1')
  redis.call('HSET', KEYS[1], 'at:' .. name, ARGV[1])
  local stored = redis.call('HMGET', KEYS[1], 'next:' .. name, 'bucket:' .. name, 'read:' .. name, 'bad:' .. name)
  reply[#reply + 1] = {tostring(epoch), stored[1], stored[2], tostring(fresh), stored[3] or '0', stored[4] or '0'}
end
return reply
