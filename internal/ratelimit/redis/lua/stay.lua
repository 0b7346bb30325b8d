-- Has members of a sorted set stay for as long again: the seats that a gateway holds, or the gateway itself among those that
-- are alive. Members that were lost come back.
-- ARGV: microseconds, [time] ('' for the server's), member...
-- Answers: how many members there are
local life, now = tonumber(ARGV[1]), clock(2)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
local add = {'ZADD', KEYS[1]}
for i = 3, #ARGV do
  add[#add + 1] = text(now + life)
  add[#add + 1] = ARGV[i]
end
redis.call(unpack(add))
redis.call('PEXPIRE', KEYS[1], text(math.ceil(life / 1000) + 1000))
return redis.call('ZCARD', KEYS[1])
