-- An alert of the monitor about itself. It needs no lease: any process that finds the trouble may raise it, and it is raised once.
-- KEYS: history, index, the alert's key
-- ARGV: one JSON document: fingerprint, firing (true or false), ttl_ms, history_length, channel, now (RFC 3339),
--   fields: {name: text} without status, change and times; what resolves an alert says nothing that is not known already,
--   so the alert keeps the severity, the summary and, unless new ones are given, the details that it fired with
-- Returns {'raised'} | {'updated'} | {'resolved'} | {'same'}
local doc = cjson.decode(ARGV[1])
local held = redis.call('HMGET', KEYS[3], 'status', 'severity', 'started_at', 'summary', 'details')
local fires = held[1] == 'firing'
if not doc.firing and not fires then return {'same'} end
local change = 'raised'
if not doc.firing then change = 'resolved' elseif fires then change = 'updated' end
local f = doc.fields
if change == 'resolved' then
  f.severity, f.summary = held[2] or f.severity, held[4] or f.summary
  if f.details == '{}' then f.details = held[5] or f.details end
end
f.fingerprint = doc.fingerprint
f.status = doc.firing and 'firing' or 'resolved'
f.change = change
f.started_at = fires and held[3] or doc.now
f.onset_at = f.onset_at or f.started_at
f.updated_at = doc.now
f.ended_at = doc.firing and '' or doc.now
f.episode = doc.fingerprint .. ':' .. f.started_at
f.event = f.episode .. ':' .. change .. ':' .. doc.now
local flat = {}
for name, value in pairs(f) do
  flat[#flat + 1] = name
  flat[#flat + 1] = value
end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[3], unpack(flat))
if not doc.firing then redis.call('PEXPIRE', KEYS[3], doc.ttl_ms) end
-- Numbers that change while it fires are refreshed in silence; a change of severity is sent.
if change == 'updated' and held[2] == f.severity then return {'same'} end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), doc.fingerprint)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', doc.history_length, '*', unpack(flat))
redis.call('PUBLISH', doc.channel, doc.fingerprint)
return {change}
