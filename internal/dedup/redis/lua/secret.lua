-- KEYS: 1 the secret. ARGV: 1 a proposal. Gives the secret that holds, and 1 when it is the proposal. It is written in any case,
-- so that a WAIT behind it proves that replicas have it.
local held = redis.call('GET', KEYS[1])
local made = 0
if not held then held, made = ARGV[1], 1 end
redis.call('SET', KEYS[1], held)
return {held, made}
