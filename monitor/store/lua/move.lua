-- Set a partition to another offset without counting anything, since its log is another one.
-- KEYS: partitions   ARGV: name, epoch, next offset as it must be now, new next offset, topic id, skipped offsets
-- Earlier topic ids are kept after the new one: a worker that gets one of them asked a broker that is not up to date.
-- Returns 1, or 0 if the partition has another owner or has another offset.
local name = ARGV[1]
local stored = redis.call('HMGET', KEYS[1], 'epoch:' .. name, 'next:' .. name, 'topic:' .. name)
if stored[1] ~= ARGV[2] then return 0 end
-- The same owner made this very move and did not hear the answer.
if stored[2] == ARGV[4] and (ARGV[5] == '' or string.match(stored[3] or '', '%S*') == ARGV[5]) then return 1 end
if stored[2] ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'next:' .. name, ARGV[4])
if ARGV[6] == '' then redis.call('HDEL', KEYS[1], 'skip:' .. name)
else redis.call('HSET', KEYS[1], 'skip:' .. name, ARGV[6]) end
if ARGV[5] ~= '' then
  local ids, n = {ARGV[5]}, 1
  for id in string.gmatch(stored[3] or '', '%S+') do
    if id ~= ARGV[5] and n < 8 then n = n + 1; ids[n] = id end
  end
  redis.call('HSET', KEYS[1], 'topic:' .. name, table.concat(ids, ' '))
end
return 1
