-- A bucket of tokens: "level:time", the time in microseconds. An absent key is a full bucket.
-- ARGV: rate a second, burst, want (below zero: given back), debt, [time]
-- Answers: granted, level left, microseconds to the next whole token, nothing was known, time
local rate, burst, want, debt = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = clock(5)
local level, last, fresh = burst, now, 1

local state = redis.call('GET', KEYS[1])
if state then
  local held, at = string.match(state, '^([^:]+):(%d+)$')
  level, last, fresh = tonumber(held), tonumber(at), 0
  if now > last then -- a clock that was put back adds nothing, and nothing twice when it comes by again
    level = level + (now - last) * rate / 1000000
    last = now
  elseif last - now > BEHIND then
    last = now
  end
  level = math.max(-burst, math.min(burst, level)) -- the burst may have been changed
end

level = math.max(-burst, level - debt)
local granted = 0
if want > 0 then
  granted = math.max(0, math.min(want, math.floor(level)))
  level = level - granted
elseif want < 0 then
  level = math.min(burst, level - want)
end

if want ~= 0 or debt > 0 then
  local full = math.min((burst - level) / rate * 1000, 3e12) -- milliseconds, within a century
  redis.call('SET', KEYS[1], string.format('%.17g:%.0f', level, last), 'PX', text(math.ceil(full) + 1000))
end

local whole = math.floor(math.max(0, level)) + 1
local nxt = math.min(math.ceil((whole - level) / rate * 1000000), 9e15)
return {granted, string.format('%.17g', level), text(nxt), fresh, text(now)}
