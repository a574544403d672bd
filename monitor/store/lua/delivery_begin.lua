-- Notes that a process has a sink switched on. The process repeats this every half minute.
-- KEYS: the sink's record, history
-- ARGV: ms after which a sink that nobody had switched on counts as having been off
-- A new sink begins at the newest transition, so older ones are never sent. Transitions that were written while
-- no process had the sink switched on lie between off_from and off_until, and are passed over.
-- Returns the cursor.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'cursor', 'on_ms')
local cursor = held[1]
if not cursor then
  local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  cursor = newest and newest[1] or '0-0'
  redis.call('HSET', KEYS[1], 'cursor', cursor)
elseif held[2] and now - tonumber(held[2]) > tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'off_from', string.format('%.0f', tonumber(held[2]) + tonumber(ARGV[1])),
    'off_until', string.format('%.0f', now))
end
redis.call('HSET', KEYS[1], 'on_ms', string.format('%.0f', now))
return cursor
