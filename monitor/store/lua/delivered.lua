-- Moves a sink past one transition: it was accepted, dropped because the sink refuses it, or passed over.
-- KEYS: the sink's lease, the sink's record
-- ARGV: token, id of the transition, what happened (delivered, dropped, passed, muted), why, now (RFC 3339)
-- Returns 1, also if this was done before, or 0 if another process holds the lease by now or the cursor is further.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local ms, seq = parts(ARGV[2])
local held_ms, held_seq = parts(redis.call('HGET', KEYS[2], 'cursor') or '0-0')
if ms == held_ms and seq == held_seq then return 1 end
if ms < held_ms or (ms == held_ms and seq < held_seq) then return 0 end
redis.call('HSET', KEYS[2], 'cursor', ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
if ARGV[3] == 'dropped' then redis.call('HSET', KEYS[2], 'dropped_at', ARGV[5], 'dropped_why', ARGV[4]) end
return 1
