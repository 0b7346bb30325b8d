-- ARGV: 2 token, 3 executed: 0 or 1, 4 status, 5 location, 6 keep key. Gives 1 when the record was settled.
local r, broken = at()
if broken then return broken end
if not r or r.state ~= UNKNOWN or r.token ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then
  drop()
else
  settle(r, SEALED, ARGV[4], '', ARGV[5], 0, tonumber(ARGV[6]), '', {})
end
return 1
