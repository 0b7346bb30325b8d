-- ARGV: 2 subject. Gives the state that a record of the subject had; 0 when it is another's or there is none.
local r, broken = at()
if broken then return broken end
if not r or r.subject ~= ARGV[2] then return 0 end
local state = r.state
if state ~= IN_FLIGHT then
  if state == COMPLETED then r.state = SEALED end
  r.answer, r.id, r.location, r.proven = 0, '', '', 0
  save(r)
  redis.call('DEL', KEYS[2])
end
return state
