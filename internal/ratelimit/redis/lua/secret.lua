-- The fleet's secret: the first one proposed, until Redis loses it.
-- ARGV: proposal
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
