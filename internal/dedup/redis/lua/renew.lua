-- ARGV: 2 token, 3 lease. Gives 1 when the lease was extended.
local r, broken = at()
if broken then return broken end
if not r or r.token ~= ARGV[2] or (r.state ~= IN_FLIGHT and r.state ~= UNKNOWN) then return 0 end
local lease = now + tonumber(ARGV[3])
local key_until = math.max(r.key, lease)
redis.call('HSET', KEYS[1], 's', IN_FLIGHT, 'l', lease, 'k', key_until)
redis.call('PEXPIREAT', KEYS[1], key_until)
keep_open(lease, key_until)
return 1
