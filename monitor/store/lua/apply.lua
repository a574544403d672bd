-- One folded bucket: the evidence state and every alert transition it caused, together or not at all.
-- KEYS: lease, meta, state, history, index, buckets, then the alerts' keys, then the bucket's own keys
-- ARGV: one JSON document: token, folded (expected), bucket, history_length, channel,
--   state: {key: text}, alerts: [{key, fingerprint, now, ttl_ms, event, fields: {...}}], expire: [[key, ms]],
--   guard: [state key, text it must hold], remove: [state key], marks: {field of meta: text}, '' is this clock's time
-- Returns {'ok'} | {'repeat'} | {'refused', why}
local doc = cjson.decode(ARGV[1])
if redis.call('HGET', KEYS[1], 'token') ~= doc.token then return {'refused', 'lease'} end
local folded = redis.call('HGET', KEYS[2], 'folded') or '-1'
if doc.bucket then
  if folded == doc.bucket then return {'repeat'} end
  if folded ~= doc.folded then return {'refused', 'folded ' .. folded} end
  redis.call('HSET', KEYS[2], 'folded', doc.bucket)
  redis.call('ZREM', KEYS[6], doc.bucket)
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if doc.guard then
  local held = redis.call('HGET', KEYS[3], doc.guard[1]) or ''
  if held ~= doc.guard[2] then
    if held == doc.state[doc.guard[1]] then return {'repeat'} end
    return {'refused', 'state'}
  end
end
if doc.bucket then redis.call('HSET', KEYS[2], 'folded_at', now, 'pending_since', now) end
for name, text in pairs(doc.marks) do redis.call('HSET', KEYS[2], name, text == '' and now or text) end
for _, key in ipairs(doc.remove) do redis.call('HDEL', KEYS[3], key) end
for key, text in pairs(doc.state) do redis.call('HSET', KEYS[3], key, text) end
for _, a in ipairs(doc.alerts) do
  local event = {}
  for name, value in pairs(a.fields) do
    event[#event + 1] = name
    event[#event + 1] = value
  end
  redis.call('DEL', KEYS[a.key])
  redis.call('HSET', KEYS[a.key], unpack(event))
  -- What fires stays, however long nothing refreshes it: silence is written once.
  if a.fields.status ~= 'firing' then redis.call('PEXPIRE', KEYS[a.key], a.ttl_ms) end
  redis.call('ZADD', KEYS[5], a.now, a.fingerprint)
  if a.event then
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', doc.history_length, '*', unpack(event))
    redis.call('PUBLISH', doc.channel, a.fingerprint)
  end
end
for _, e in ipairs(doc.expire) do redis.call('PEXPIRE', KEYS[e[1]], e[2]) end
return {'ok'}
