-- ARGV: 2 fingerprint, 3 token, 4 subject, 5 route, 6 lease, 7 keep key, 8 grant: 0 look, 1 claim, 2 only what is mine already,
-- 9 reclaim: 0 or 1, 10 prove: 1 has a result that is told be written again, unless it is known to be on a replica.
-- Gives verdict, left, epoch, token, status, request id, location, answer, and 1 when what is told waits for its proof.
local r, broken = at()
if broken then return broken end
local grant = tonumber(ARGV[8])

local function claim(old)
  local lease = now + tonumber(ARGV[6])
  local key_until = lease + tonumber(ARGV[7])
  if LEASE_TTL then key_until = lease end
  local epoch, begun = 1, now
  if old then epoch, begun = old.epoch + 1, old.begun end
  redis.call('HSET', KEYS[1], 's', IN_FLIGHT, 'f', ARGV[2], 't', ARGV[3], 'u', ARGV[4], 'o', ARGV[5], 'e', epoch, 'b', begun,
    'l', lease, 'k', key_until)
  if old or stale then
    redis.call('HDEL', KEYS[1], 'a', 'c', 'i', 'L', 'd')
    redis.call('DEL', KEYS[2])
  end
  redis.call('PEXPIREAT', KEYS[1], key_until)
  keep_open(lease, key_until)
  return {ACQUIRED, 0, epoch, '', 0, '', '', '', 0}
end

if not r then
  if grant == 1 then return claim(nil) end
  return {MISS, 0, 0, '', 0, '', '', '', 0}
end
if r.fingerprint ~= ARGV[2] then return {MISMATCH, 0, 0, '', 0, '', '', '', 0} end
if r.state == UNKNOWN and grant == 1 and (ARGV[9] == '1' or TAKEOVER) then return claim(r) end
if r.state == IN_FLIGHT then
  if grant > 0 and r.token == ARGV[3] then
    touch(r)
    return {ACQUIRED, 0, r.epoch, '', r.status, r.id, r.location, '', 0}
  end
  return {BUSY, r.lease - now, 0, '', r.status, r.id, r.location, '', 0}
end
if r.state == UNKNOWN then return {UNDETERMINED, 0, 0, r.token, r.status, r.id, r.location, '', 0} end
local unproven = 0
if ARGV[10] == '1' and not r.proven then
  touch(r)
  unproven = 1
end
if r.state == COMPLETED then
  return {REPLAY, 0, 0, r.token, r.status, r.id, r.location, redis.call('GET', KEYS[2]), unproven}
end
return {NOT_KEPT, 0, 0, r.token, r.status, r.id, r.location, '', unproven}
