-- Note how many partitions a topic has now. Those that only an earlier topic of the same name had are gone: nobody can read
-- them, so nothing waits for them. Their offsets stay, and a claim brings them back.
-- KEYS: partitions   ARGV: topic, its id, how many partitions it has
local before, count = 'topic:' .. ARGV[1] .. '/', tonumber(ARGV[3])
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, #before) == before then
    local number, id = tonumber(string.sub(fields[i], #before + 1)), string.match(fields[i + 1], '%S*')
    if number and number >= count and id ~= '' and id ~= ARGV[2] then
      redis.call('HSETNX', KEYS[1], 'gone:' .. ARGV[1] .. '/' .. number, now)
    end
  end
end
return 1
