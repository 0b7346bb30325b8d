-- ARGV: 2 subject. Gives the state that a record of the subject had; 0 when it is another's or there is none.
local r, broken = at()
if broken then return broken end
if not r or r.subject ~= ARGV[2] then return 0 end
if r.state ~= IN_FLIGHT then
  local state = r.state
  if state == COMPLETED then state = SEALED end
  redis.call('HSET', KEYS[1], 's', state, 'a', 0, 'i', '', 'L', '')
  redis.call('HDEL', KEYS[1], 'd')
  redis.call('DEL', KEYS[2])
end
return r.state
