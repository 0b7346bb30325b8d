-- ARGV: 2 "1" takes a record that is gone or settled out of the open ones. Gives the record without its answer; nothing when
-- there is none.
local r, broken = at()
if broken then return broken end
if ARGV[2] == '1' and not (r and (r.state == IN_FLIGHT or r.state == UNKNOWN)) then redis.call('ZREM', KEYS[3], ARGV[1]) end
if not r then return {} end
return {r.state, r.fingerprint, r.token, r.subject, r.route, r.epoch, r.begun, r.lease, r.answer, r.key, r.status, r.id, r.location}
