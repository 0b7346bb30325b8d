-- A quota of any span of a length: a hash of counts by the number of a 60th of it, n (the newest), w (its width in
-- microseconds), and a field for each gateway whose tokens are in the counts: its newest 60th when it drew last. A token is to be used in the 60th that it was
-- drawn in or in the next one; so 62 of them together hold all that any span of the length can have seen.
-- ARGV: quota, want (below zero: given back), debt, drawn, width, gateway, [time]
-- Answers as window.lua does; begins is that of the newest 60th, the end that of the next one
local KEEP = 62
local quota, want, debt, drawn = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local width, me = tonumber(ARGV[5]), ARGV[6]
local now = clock(7)

local counts, known, fresh, counted, all = {}, {}, 1, false, 0
local row = redis.call('HGETALL', KEYS[1])
for i = 1, #row, 2 do
  known[row[i]] = row[i + 1]
  fresh = 0
end
local newest = math.floor(now / width)
local edited = known.w and tonumber(known.w) ~= width
if known.n and not edited and tonumber(known.n) - newest > math.max(KEEP, BEHIND / width) then edited = true end -- put back by more than a length
if known.n and not edited then newest = math.max(newest, tonumber(known.n)) end -- the clock may stand still, not go back
local gone, others = {}, {}
for field, value in pairs(known) do
  local n = tonumber(field)
  if n and edited then -- another length: all that is counted counts from now
    counts[newest] = (counts[newest] or 0) + tonumber(value)
    all = all + tonumber(value)
    gone[#gone + 1] = field
  elseif n and n > newest - KEEP then
    counts[n] = tonumber(value)
    all = all + counts[n]
  elseif n then
    gone[#gone + 1] = field
  elseif field ~= 'n' and field ~= 'w' and field ~= me then -- a gateway
    others[#others + 1] = field
    if not edited and (tonumber(value) or 0) <= newest - KEEP then gone[#gone + 1] = field end -- nothing of it counts any more
  end
end
counted = known[me]

local changed = {}
local function add(n, count)
  counts[n] = (counts[n] or 0) + count
  all = all + count
  changed[n] = true
end
local lost = 0
if not counted then lost = drawn end -- the store has forgotten what this gateway has
if lost + debt > 0 then add(newest, math.max(0, math.min(lost + debt, 2 * quota - all))) end
local granted = 0
if want > 0 then
  granted = math.max(0, math.min(want, quota - all))
  add(newest, granted)
end
local back = -want
for n = newest - KEEP + 1, newest do -- oldest first: a span never counts less than it saw
  if back <= 0 then break end
  local part = math.min(back, counts[n] or 0)
  if part > 0 then add(n, -part) end
  back = back - part
end

local oldest, last, enough, nxt = nil, newest, 0, 0
if quota - all < 1 then nxt = -1 end
for n = newest - KEEP + 1, newest do
  if (counts[n] or 0) > 0 then
    last = n
    enough = enough + counts[n]
    if nxt == -1 and quota - all + enough >= 1 then nxt = (n + KEEP) * width - now end
  end
end

if want ~= 0 or debt > 0 or lost > 0 then
  if edited then changed[newest] = true end
  if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
  local set = {'HSET', KEYS[1], 'n', text(newest), 'w', text(width), me, text(newest)}
  for i = 1, #others do
    if edited then set[#set + 1], set[#set + 2] = others[i], text(newest) end
  end
  for n in pairs(changed) do
    set[#set + 1] = text(n)
    set[#set + 1] = text(counts[n])
  end
  redis.call(unpack(set))
  local passed = math.min((last + KEEP) * width - now, KEEP * width)
  redis.call('PEXPIRE', KEYS[1], text(math.ceil(passed / 1000) + 1000))
end
local stop = math.max(0, (newest + 2) * width - now)
return {granted, text(quota - all), text(nxt), fresh, text(now), text(newest * width), text(stop)}
