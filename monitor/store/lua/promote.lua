-- Start the evidence afresh, under other settings. Every process that runs with the settings before is refused from now on.
-- KEYS: lease, meta, partitions, state, buckets, leads, index, history, epochs, workers, then the keys of firing alerts
-- ARGV: one JSON document: binding, settings (text), bucket_ms, factor (old bucket width / new), header (text that the
--   state's header must still hold), channel, history_length, ttl_ms, names: [partition],
--   alerts: [{key, fingerprint, fields}], record: {name: text}
-- Returns {'ok', number of the epoch, buckets dropped} | {'changed'}
local doc = cjson.decode(ARGV[1])
if (redis.call('HGET', KEYS[4], '#header') or '') ~= doc.header then return {'changed'} end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HINCRBY', KEYS[2], 'token', 1)
redis.call('DEL', KEYS[1], KEYS[4], KEYS[6], KEYS[10])
local dropped = redis.call('ZCARD', KEYS[5])
redis.call('DEL', KEYS[5])
-- The first open bucket of the new width begins where the last closed one of the old width ends.
local function renumbered(bucket)
  return string.format('%.0f', math.ceil((tonumber(bucket) + 1) * doc.factor) - 1)
end
local old = redis.call('HMGET', KEYS[2], 'closed', 'lead')
local last = math.max(tonumber(old[1] or '-1'), tonumber(old[2] or '-1'))
local closed = renumbered(last)
redis.call('HSET', KEYS[2], 'binding', doc.binding, 'settings', doc.settings, 'bucket_ms', doc.bucket_ms,
  'closed', closed, 'folded', closed, 'lead', closed, 'since', now)
redis.call('HDEL', KEYS[2], 'pending_since', 'canary_sent', 'canary_seen')
for _, name in ipairs(doc.names) do
  redis.call('HINCRBY', KEYS[3], 'epoch:' .. name, 1)
  redis.call('HSET', KEYS[3], 'bucket:' .. name, closed)
end
local function told(fields)
  local flat = {}
  for name, value in pairs(fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('XADD', KEYS[8], 'MAXLEN', '~', doc.history_length, '*', unpack(flat))
  return flat
end
for _, a in ipairs(doc.alerts) do
  local flat = told(a.fields)
  redis.call('DEL', KEYS[a.key])
  redis.call('HSET', KEYS[a.key], unpack(flat))
  redis.call('PEXPIRE', KEYS[a.key], doc.ttl_ms)
  redis.call('ZADD', KEYS[7], now, a.fingerprint)
  redis.call('PUBLISH', doc.channel, a.fingerprint)
end
local number = redis.call('HINCRBY', KEYS[2], 'epoch', 1)
redis.call('XADD', KEYS[9], 'MAXLEN', '~', 1000, '*', 'number', number, 'at', now, 'settings', doc.settings)
return {'ok', tostring(number), tostring(dropped)}
