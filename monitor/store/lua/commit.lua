-- The exactly-once rule, and its only place: counts and next offsets are written together or not at all.
-- KEYS: partitions, meta, totals, rejected, streams, buckets, then the keys that the batch names by index
-- ARGV: one JSON document (numbers that must stay exact are strings):
--   now, partitions: [{name, epoch, from, next, bucket}], counts: [{bucket, key, fields: {field: n}}],
--   rejected: {reason: n}, streams: [name], examples: [{key, keep, members: [score, member, ...]}]
-- Returns {'ok'} | {'repeat'} | {'closed', bucket} | {'refused', name, why, stored next}
local batch = cjson.decode(ARGV[1])
local repeated = 0
for _, p in ipairs(batch.partitions) do
  local stored = redis.call('HMGET', KEYS[1], 'next:' .. p.name, 'epoch:' .. p.name)
  if not stored[1] then return {'refused', p.name, 'wiped', ''} end
  if stored[2] ~= p.epoch then return {'refused', p.name, 'fenced', stored[1]} end
  if stored[1] ~= p.from then
    -- The same owner wrote this very batch and did not hear the answer.
    if stored[1] == p.next then repeated = repeated + 1
    else return {'refused', p.name, 'moved', stored[1]} end
  end
end
if repeated > 0 then return {'repeat'} end
local closed = tonumber(redis.call('HGET', KEYS[2], 'closed') or '-1')
for _, c in ipairs(batch.counts) do
  if tonumber(c.bucket) <= closed then return {'closed', tostring(closed)} end
end
for _, p in ipairs(batch.partitions) do
  redis.call('HSET', KEYS[1], 'next:' .. p.name, p.next, 'bucket:' .. p.name, p.bucket, 'at:' .. p.name, batch.now)
end
for _, c in ipairs(batch.counts) do
  for field, n in pairs(c.fields) do
    redis.call('HINCRBY', KEYS[c.key], field, n)
    redis.call('HINCRBY', KEYS[3], field, n)
  end
  redis.call('ZADD', KEYS[6], c.bucket, c.bucket)
end
for reason, n in pairs(batch.rejected) do redis.call('HINCRBY', KEYS[4], reason, n) end
for _, stream in ipairs(batch.streams) do redis.call('HSET', KEYS[5], stream, batch.now) end
for _, e in ipairs(batch.examples) do
  redis.call('ZADD', KEYS[e.key], unpack(e.members))
  redis.call('ZREMRANGEBYRANK', KEYS[e.key], e.keep, -1)
end
return {'ok'}
