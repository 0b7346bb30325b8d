-- ARGV: 2 token. Gives 1 when the claim was freed.
local r, broken = at()
if broken then return broken end
if not r or r.state ~= IN_FLIGHT or r.token ~= ARGV[2] or r.epoch > 1 then return 0 end
drop()
return 1
