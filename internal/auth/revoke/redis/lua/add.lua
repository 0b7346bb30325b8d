-- Keeps one revocation until its end. KEYS: head, order, ends, entries. ARGV: a life to begin with, the entry's id, its moment
-- and its end in microseconds, how long that is away in milliseconds, the rest of the entry, the most entries there may be.
-- Answers 1 when something changed, 0 when all was known, -1 when there is no room. The end of what is kept is told by this
-- server's clock; gateways judge entries by their own.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local head, order, ends, entries = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, before, til, left = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

for _, over in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', ends, over)
  redis.call('ZREM', order, over)
  redis.call('HDEL', entries, over)
end

local old = redis.call('HGET', entries, id)
if old then
  local b, u = string.match(old, '^(%d+) (%d+) ')
  if tonumber(b) >= tonumber(before) and tonumber(u) >= tonumber(til) and redis.call('ZSCORE', order, id) then
    return 0
  end
  if tonumber(b) > tonumber(before) then before = b end
  if tonumber(u) > tonumber(til) then
    left = left + math.ceil((tonumber(u) - tonumber(til)) / 1000)
    til = u
  end
elseif redis.call('HLEN', entries) >= tonumber(ARGV[7]) then
  return -1
end

redis.call('HSETNX', head, 'life', ARGV[1])
local seq = redis.call('HINCRBY', head, 'seq', 1)
redis.call('ZADD', order, seq, id)
redis.call('ZADD', ends, now + left, id)
redis.call('HSET', entries, id, before .. ' ' .. til .. ' ' .. ARGV[6])
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, left) end
end
return 1
