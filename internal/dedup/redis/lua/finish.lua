-- ARGV: 2 token, 3 state, 4 fingerprint, 5 subject, 6 route, 7 status, 8 request id, 9 location, 10 keep answer, 11 keep key, 12 answer.
-- Gives the outcome.
local r, broken = at()
if broken then return broken end
if r and r.token ~= ARGV[2] and not BLIND_FINISH then return FENCED end
local state, outcome = tonumber(ARGV[3]), STORED
if r and (r.state == COMPLETED or r.state == SEALED or (r.state == UNKNOWN and state == UNKNOWN)) then
  save(r) -- the first WAIT may have been short
  return STORED
end
if not r then
  r = {fingerprint = ARGV[4], token = ARGV[2], subject = ARGV[5], route = ARGV[6], epoch = 1, begun = now}
  outcome = RECREATED
end
settle(r, state, ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12])
return outcome
