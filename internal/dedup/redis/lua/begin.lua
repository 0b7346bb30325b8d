-- ARGV: 2 fingerprint, 3 token, 4 subject, 5 route, 6 lease, 7 keep key, 8 grant: 0 look, 1 claim, 2 only what is mine already,
-- 9 reclaim: 0 or 1, 10 prove: 1 has a result that is told be written again, unless it is known to be on a replica.
-- 11 epoch of a claim where nothing is: 1, or that of a claim that was lost.
-- Gives the verdict alone if it is miss or mismatch; else verdict, what is left of the lease or of the key's time, epoch, token, status, request id, location, answer,
-- and 1 when what is told waits for its proof.
local r, broken = at()
if broken then return broken end
local grant = tonumber(ARGV[8])

local function claim(epoch, begun)
  local lease = now + tonumber(ARGV[6])
  local key_until = lease + tonumber(ARGV[7])
  if LEASE_TTL then key_until = lease end
  save({state = IN_FLIGHT, fingerprint = ARGV[2], token = ARGV[3], subject = ARGV[4], epoch = epoch, begun = begun, lease = lease,
    answer = 0, key = key_until, status = 0, proven = 0, route = ARGV[5], id = '', location = ''})
  redis.call('ZADD', KEYS[3], whole(lease), ARGV[1])
  return {ACQUIRED, 0, epoch, '', 0, '', '', '', 0}
end

if not r then
  if grant == 1 then return claim(tonumber(ARGV[11]), now) end
  return MISS
end
if r.fingerprint ~= ARGV[2] then return MISMATCH end
if r.state == UNKNOWN and grant == 1 and (ARGV[9] == '1' or TAKEOVER) then return claim(r.epoch + 1, r.begun) end
if r.state == IN_FLIGHT then
  if grant > 0 and r.token == ARGV[3] then
    save(r)
    return {ACQUIRED, r.lease - now, r.epoch, '', r.status, r.id, r.location, '', 0}
  end
  return {BUSY, r.lease - now, 0, '', r.status, r.id, r.location, '', 0}
end
if r.state == UNKNOWN then return {UNDETERMINED, r.key - now, 0, r.token, r.status, r.id, r.location, '', 0} end
local unproven = 0
if ARGV[10] == '1' and r.proven == 0 then
  save(r)
  unproven = 1
end
if r.state == COMPLETED then
  return {REPLAY, r.key - now, 0, r.token, r.status, r.id, r.location, redis.call('GET', KEYS[2]), unproven}
end
return {NOT_KEPT, r.key - now, 0, r.token, r.status, r.id, r.location, '', unproven}
