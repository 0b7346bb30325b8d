-- ARGV: 2 token, 3 executed: 0 or 1, 4 status, 5 location, 6 keep key, 7 epoch, 0 for any. Gives 1 when the record was settled.
local r, broken = at()
if broken then return broken end
if not r or r.state ~= UNKNOWN or r.token ~= ARGV[2] then return 0 end
local epoch = tonumber(ARGV[7])
if epoch ~= 0 and epoch ~= r.epoch then return 0 end
if ARGV[3] == '0' then
  drop()
else
  settle(r, SEALED, ARGV[4], '', ARGV[5], 0, math.max(tonumber(ARGV[6]), r.key - now), '')
end
return 1
