-- What a worker sees of its partitions and how it is, once a second: so that others notice if it sees nothing.
-- KEYS: partitions, workers, meta
-- ARGV: one JSON document: binding, worker, entry (text), partitions: [{name, epoch, lag, behind}]
-- Returns the time (ms) of this clock, '0' if the group has other settings by now.
local doc = cjson.decode(ARGV[1])
local binding = redis.call('HGET', KEYS[3], 'binding')
if doc.binding ~= '' and binding and binding ~= doc.binding then return '0' end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for _, p in ipairs(doc.partitions) do
  if redis.call('HGET', KEYS[1], 'epoch:' .. p.name) == p.epoch then
    redis.call('HSET', KEYS[1], 'seen:' .. p.name, now, 'lag:' .. p.name, p.lag)
    if p.behind then redis.call('HSETNX', KEYS[1], 'behind:' .. p.name, now)
    else redis.call('HDEL', KEYS[1], 'behind:' .. p.name) end
  end
end
if redis.call('HSET', KEYS[2], doc.worker, now .. ' ' .. doc.entry) == 1 then
  -- A new worker: those from which nothing came for an hour are forgotten, or each restart would leave one here for good.
  local reports = redis.call('HGETALL', KEYS[2])
  for i = 1, #reports, 2 do
    local at = tonumber(string.match(reports[i + 1], '^%d+') or '0')
    if tonumber(now) - at > 3600000 then redis.call('HDEL', KEYS[2], reports[i]) end
  end
end
return now
