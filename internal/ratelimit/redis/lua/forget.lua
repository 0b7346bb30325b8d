-- Forgets one bucket, or what was used of a quota. Which gateways were counted stays: each would else bring again what it drew.
local kind = redis.call('TYPE', KEYS[1])
if (kind.ok or kind) ~= 'hash' then return redis.call('DEL', KEYS[1]) end
local row = redis.call('HKEYS', KEYS[1])
for i = 1, #row do
  if row[i] == 'u' then
    redis.call('HSET', KEYS[1], 'u', '0')
  elseif tonumber(row[i]) then
    redis.call('HDEL', KEYS[1], row[i])
  end
end
return 1
