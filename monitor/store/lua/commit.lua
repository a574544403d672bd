-- The exactly-once rule, and its only place: counts and next offsets are written together or not at all.
-- KEYS: partitions, meta, totals, rejected, streams, buckets, leads, then the keys that the batch names by index
-- ARGV: one JSON document (numbers that must stay exact are strings):
--   binding, limit (of streams, 0 for none), free (streams that the limit does not count),
--   partitions: [{name, epoch, from, next, bucket, read, bad}], counts: [{bucket, key, fields: {field: n}}],
--   rejected: {reason: n}, sums: {field of meta: n}, streams: [name],
--   examples: [{key, keep, members: [score, member, ...]}]
-- Returns {'ok', now} | {'repeat', now} | {'closed', last closed bucket, now} | {'ahead', last bucket allowed, now}
--   | {'streams', now, name, ...}: the limit has no room for these | {'refused', name, why, stored next}
local batch = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now = string.format('%.0f', ms)
local meta = redis.call('HMGET', KEYS[2], 'closed', 'binding', 'bucket_ms', 'lead')

-- Who may write: the settings of this group, the owner of each partition, from where it stands.
if batch.binding ~= '' and meta[2] and meta[2] ~= batch.binding then return {'refused', '', 'rebound', ''} end
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
if repeated > 0 then return {'repeat', now} end

-- Where it may be counted: behind what is closed, and not ahead of this clock.
local closed = tonumber(meta[1] or '-1')
local limit = nil
if meta[3] then limit = math.max(math.floor(ms / tonumber(meta[3])), closed + 1) end
for _, c in ipairs(batch.counts) do
  if tonumber(c.bucket) <= closed then return {'closed', string.format('%.0f', closed), now} end
  if limit and tonumber(c.bucket) > limit then return {'ahead', string.format('%.0f', limit), now} end
end

-- Under which names: streams beyond the limit are counted together, which the client does and sends again.
local free = {}
for _, name in ipairs(batch.free) do free[name] = true end
if batch.limit > 0 then
  local room = batch.limit - redis.call('HLEN', KEYS[5])
  local refused = {}
  for _, name in ipairs(batch.streams) do
    if not free[name] and redis.call('HEXISTS', KEYS[5], name) == 0 then
      room = room - 1
      if room < 0 then refused[#refused + 1] = name end
    end
  end
  if #refused > 0 then return {'streams', now, unpack(refused, 1, math.min(#refused, 4000))} end
end

local lead = tonumber(meta[4] or '-1')
local first = lead
for _, p in ipairs(batch.partitions) do
  local bucket = tonumber(p.bucket)
  if limit and bucket > limit then bucket = limit end
  redis.call('HSET', KEYS[1], 'next:' .. p.name, p.next, 'bucket:' .. p.name, string.format('%.0f', bucket), 'at:' .. p.name, now)
  redis.call('HSET', KEYS[1], 'read:' .. p.name, p.read, 'bad:' .. p.name, p.bad)
  -- Whoever brings only what is closed already holds no bucket open, however long it goes on.
  if bucket <= closed then redis.call('HSETNX', KEYS[1], 'late:' .. p.name, now)
  else redis.call('HDEL', KEYS[1], 'late:' .. p.name) end
  if bucket > lead then lead = bucket end
end
for _, c in ipairs(batch.counts) do
  if tonumber(c.bucket) > lead then lead = tonumber(c.bucket) end
end
if lead > first then
  redis.call('HSET', KEYS[2], 'lead', string.format('%.0f', lead))
  redis.call('ZADD', KEYS[7], now, string.format('%.0f', lead))
end
if #batch.counts > 0 and redis.call('ZCARD', KEYS[6]) == 0 then redis.call('HSET', KEYS[2], 'pending_since', now) end
for _, c in ipairs(batch.counts) do
  for field, n in pairs(c.fields) do
    redis.call('HINCRBY', KEYS[c.key], field, n)
    redis.call('HINCRBY', KEYS[3], field, n)
  end
  redis.call('ZADD', KEYS[6], c.bucket, c.bucket)
end
for reason, n in pairs(batch.rejected) do redis.call('HINCRBY', KEYS[4], reason, n) end
for name, n in pairs(batch.sums) do redis.call('HINCRBY', KEYS[2], name, n) end
if batch.sums.overflow then redis.call('HSET', KEYS[2], 'overflow_at', now) end
for _, stream in ipairs(batch.streams) do
  if not free[stream] then redis.call('HSET', KEYS[5], stream, now) end
end
for _, e in ipairs(batch.examples) do
  for i = 1, #e.members, 2 do redis.call('ZADD', KEYS[e.key], e.members[i], e.members[i + 1]) end
  redis.call('ZREMRANGEBYRANK', KEYS[e.key], e.keep, -1)
end
return {'ok', now}
