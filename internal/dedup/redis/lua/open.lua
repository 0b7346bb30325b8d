-- ARGV: 2 first, 3 last rank. Gives raw keys of open records of the bucket. The list outlives its records only while somebody
-- still looks at it.
redis.call('PEXPIRE', KEYS[3], 3456000000) -- 40 days
return redis.call('ZRANGE', KEYS[3], ARGV[2], ARGV[3])
