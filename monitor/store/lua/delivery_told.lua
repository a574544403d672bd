-- When each episode was first sent to a receiver of all current alerts, by this clock.
-- KEYS: sorted set of the receiver: episode to ms; '' to the time of the first alert that was sent
-- ARGV: '1' if the episodes have just been sent, '0' to ask only; how many to remember; then episodes
-- Returns {now, '' , each episode}: ms as text, '' for an episode that was never sent.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('ZADD', KEYS[1], 'NX', now, '')
local found = {now, redis.call('ZSCORE', KEYS[1], '')}
for n = 3, #ARGV do
  if ARGV[1] == '1' then redis.call('ZADD', KEYS[1], 'NX', now, ARGV[n]) end
  found[#found + 1] = redis.call('ZSCORE', KEYS[1], ARGV[n]) or ''
end
-- The oldest go first; '' is the oldest of all and stays.
local over = redis.call('ZCARD', KEYS[1]) - 1 - tonumber(ARGV[2])
if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 1, over) end
return found
