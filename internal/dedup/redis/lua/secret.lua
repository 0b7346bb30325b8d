-- KEYS: 1 the secret, 2 the generation of the data. ARGV: 1 a proposal for the secret, 2 one for the generation, which begins
-- anew with the secret. Gives both as they hold, and 1 when the secret is the proposal. The secret is written in any case, so
-- that a WAIT behind it proves that replicas have it.
local held, generation, made = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), 0
if not held then held, generation, made = ARGV[1], false, 1 end
redis.call('SET', KEYS[1], held)
if not generation then
  generation = ARGV[2]
  redis.call('SET', KEYS[2], generation)
end
return {held, generation, made}
