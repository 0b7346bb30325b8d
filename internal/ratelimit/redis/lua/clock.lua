-- clock is the server's time in microseconds. Only tests give an argument at this place: then that is the time.
local function clock(at)
  if (ARGV[at] or '') ~= '' then return tonumber(ARGV[at]) end
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- text writes a whole number with all its digits: Lua's own conversion would turn to exponents.
local function text(n) return string.format('%.0f', n) end

