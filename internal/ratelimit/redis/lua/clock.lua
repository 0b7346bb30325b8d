-- clock is the server's time in microseconds. Only tests give an argument at this place: then that is the time.
local function clock(at)
  if (ARGV[at] or '') ~= '' then return tonumber(ARGV[at]) end
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- BEHIND is how far the clock may have been put back, in microseconds, for a time that was seen to be waited for. Further back
-- nothing would come back for as long: the count goes on from the new time, and may gain a burst when the clock comes by again.
local BEHIND = 10000000

-- text writes a whole number with all its digits: Lua's own conversion would turn to exponents.
local function text(n) return string.format('%.0f', n) end

