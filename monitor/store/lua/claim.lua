-- Claims partitions: raises the epoch of each, so that every earlier owner is refused, and returns the next offset.
-- KEYS: partitions
-- ARGV: one JSON document: topic_id, count (partitions that the topic has), partitions: [{name, topic, first}] with
--   first the offset to begin at if nothing is stored
-- Returns for each partition: epoch, next offset, bucket, 1 if nothing was stored, topic ids, skipped offsets,
--   recent records, bad ones of them.
local doc = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local reply = {}
for _, p in ipairs(doc.partitions) do
  local name = p.name
  local fresh = redis.call('HSETNX', KEYS[1], 'next:' .. name, p.first)
  if fresh == 1 and doc.topic_id ~= '' then redis.call('HSET', KEYS[1], 'topic:' .. name, doc.topic_id) end
  if fresh == 1 and doc.count ~= '0' then redis.call('HSETNX', KEYS[1], 'count:' .. p.topic, doc.count) end
  local epoch = redis.call('HINCRBY', KEYS[1], 'epoch:' .. name, 1)
  redis.call('HSETNX', KEYS[1], 'bucket:' .. name, '-1')
  redis.call('HSET', KEYS[1], 'at:' .. name, now)
  redis.call('HDEL', KEYS[1], 'gone:' .. name)
  local stored = redis.call('HMGET', KEYS[1], 'next:' .. name, 'bucket:' .. name, 'topic:' .. name, 'skip:' .. name,
    'read:' .. name, 'bad:' .. name)
  reply[#reply + 1] = {tostring(epoch), stored[1], stored[2], tostring(fresh), stored[3] or '', stored[4] or '',
    stored[5] or '0', stored[6] or '0'}
end
return reply
