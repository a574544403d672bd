-- Forget streams: their evidence, their names, and their part of the totals, which is kept under one name for all.
-- KEYS: lease, state, streams, totals, requests
-- ARGV: one JSON document: token, before (ms: a stream heard later stays, unless asked), asked: [name],
--   streams: [{name, state (field), fields: [[from, to]]}]
-- Returns the names that are forgotten, or {'', 'refused'} without the lease.
local doc = cjson.decode(ARGV[1])
if redis.call('HGET', KEYS[1], 'token') ~= doc.token then return {'', 'refused'} end
local asked, gone = {}, {}
for _, name in ipairs(doc.asked) do asked[name] = true end
for _, s in ipairs(doc.streams) do
  local heard = redis.call('HGET', KEYS[3], s.name)
  if asked[s.name] or not heard or tonumber(heard) <= tonumber(doc.before) then
    for _, pair in ipairs(s.fields) do
      local n = redis.call('HGET', KEYS[4], pair[1])
      if n then
        redis.call('HDEL', KEYS[4], pair[1])
        redis.call('HINCRBY', KEYS[4], pair[2], n)
      end
    end
    redis.call('HDEL', KEYS[2], s.state)
    redis.call('HDEL', KEYS[3], s.name)
    gone[#gone + 1] = s.name
  end
  redis.call('SREM', KEYS[5], s.name)
end
return gone
