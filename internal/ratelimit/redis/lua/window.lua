-- A quota of a period of the calendar: a hash of b (begins), e (ends), u (used), and a field for each gateway whose tokens are
-- in u. Times in microseconds. The caller guesses the period; only the server's clock says whether it is the one.
-- ARGV: quota, want (below zero: given back), debt, drawn, begins, ends (both 0: look at what there is), gateway, [time]
-- Answers: granted, left, microseconds until there is a token (-1: not in this period), nothing was known (2: another period,
-- nothing was done), time, begins, microseconds to the end
local quota, want, debt, drawn = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local begins, ends, me = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local now = clock(8)
if ends > 0 and (now < begins or now >= ends) then
  return {0, '0', '0', 2, text(now), '0', '0'}
end

local row = redis.call('HMGET', KEYS[1], 'b', 'e', 'u', me)
local used, fresh, counted = 0, 1, row[4]
if tonumber(row[2] or 0) > now then -- also when the period was edited: what is used stays used
  used, fresh = tonumber(row[3]), 0
  if ends == 0 then begins, ends = tonumber(row[1]), tonumber(row[2]) end
else
  counted = false
end

local lost = 0
if not counted then lost = drawn end -- the store has forgotten what this gateway has
used = math.min(2 * quota, used + lost + debt)
local granted = 0
if want > 0 then
  granted = math.max(0, math.min(want, quota - used))
  used = used + granted
elseif want < 0 then
  used = math.max(0, used + want)
end

if ends > 0 and (want ~= 0 or debt > 0 or lost > 0) then
  if fresh == 1 and row[2] then redis.call('DEL', KEYS[1]) end
  redis.call('HSET', KEYS[1], 'b', text(begins), 'e', text(ends), 'u', text(used), me, '1')
  redis.call('PEXPIRE', KEYS[1], text(math.ceil((ends - now) / 1000) + 60000))
end

local nxt = 0
if quota - used < 1 then nxt = -1 end
return {granted, text(quota - used), text(nxt), fresh, text(now), text(begins), text(math.max(0, ends - now))}
