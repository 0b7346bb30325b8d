-- ARGV: 2 token. Marks the result of an attempt as seen on a replica.
local r, broken = at()
if broken then return broken end
if not r or r.token ~= ARGV[2] or (r.state ~= COMPLETED and r.state ~= SEALED) then return 0 end
r.proven = 1
save(r)
return 1
