-- ARGV: 2 token, 3 lease. Gives 1 when the lease was extended.
local r, broken = at()
if broken then return broken end
if not r or r.token ~= ARGV[2] or (r.state ~= IN_FLIGHT and r.state ~= UNKNOWN) or r.lease == 0 then return 0 end
local lease = math.max(r.lease, now + tonumber(ARGV[3]))
r.state, r.lease, r.key = IN_FLIGHT, lease, lease + r.key - r.lease
save(r)
redis.call('ZADD', KEYS[3], whole(lease), ARGV[1])
return 1
