-- The seats of a limit: a sorted set of seats by when they expire, in microseconds of the server's clock.
-- ARGV: how many there are, microseconds that one lasts, seat ('' to look), [time]
-- Answers: taken, how many are taken, microseconds until the first one expires
local limit, life, seat = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = clock(4)
local taken = 0
if seat ~= '' then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
  if redis.call('ZCARD', KEYS[1]) < limit then
    redis.call('ZADD', KEYS[1], text(now + life), seat)
    redis.call('PEXPIRE', KEYS[1], text(math.ceil(life / 1000) + 1000))
    taken = 1
  end
end
local first = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local wait = 0
if first[2] then wait = tonumber(first[2]) - now end
return {taken, redis.call('ZCOUNT', KEYS[1], '(' .. text(now), '+inf'), text(wait)}
