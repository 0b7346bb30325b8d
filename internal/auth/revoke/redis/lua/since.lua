-- Gives a page of what was added. KEYS: head, order, entries. ARGV: life, server, place (all empty: from the beginning), the
-- most entries of a page. Answers life, server, next place, and the entries; only life and server when the place is none of
-- this life on this server: after a loss, or on another server than before, which may lack the newest.
local info, server = redis.pcall('INFO', 'server'), ''
if type(info) == 'string' then server = string.match(info, 'run_id:(%w+)') or '' end
local head = redis.call('HMGET', KEYS[1], 'life', 'seq')
local life, seq = head[1] or '-', head[2] or '0'
local from = ARGV[3]
if from == '' then
  from = '0'
elseif ARGV[1] ~= life or ARGV[2] ~= server or tonumber(from) > tonumber(seq) then
  return {life, server}
end
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local answer = {life, server, seq}
if #found == 0 then return answer end
answer[3] = found[#found]
for i = 1, #found, 2 do
  local entry = redis.call('HGET', KEYS[3], found[i])
  if entry then answer[#answer + 1] = entry end
end
return answer
