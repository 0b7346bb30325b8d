-- What all steps share: a record as it counts now. It mirrors package record; the differential test holds both together.
--
-- KEYS: 1 the record (hash), 2 its answer (string), 3 the open records of its bucket (sorted set: lease end -> record key).
-- ARGV[1] is the record's raw key, the member of KEYS[3]. Instants and durations are milliseconds.
--
-- Fields: s state, f fingerprint, t token, u subject, o route, e epoch, b begun, l lease, a answer until, k key until,
-- c status, i request id, L location, d "1": a replica was seen to have the result.
--
-- The first write of a step is always one that Redis refuses when it has no room, so a refused step has written nothing.
local IN_FLIGHT, COMPLETED, SEALED, UNKNOWN = 1, 2, 3, 4
local ACQUIRED, MISS, MISMATCH, BUSY, REPLAY, NOT_KEPT, UNDETERMINED = 1, 2, 3, 4, 5, 6, 7
local STORED, FENCED, RECREATED = 1, 2, 3

local now
if CLOCK_GIVEN then
  now = tonumber(ARGV[#ARGV])
else
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local stale = false -- something past its time is still in the way

local function at()
  local h = redis.call('HMGET', KEYS[1], 's', 'f', 't', 'u', 'o', 'e', 'b', 'l', 'a', 'k', 'c', 'i', 'L', 'd')
  if not h[1] then
    stale = redis.call('EXISTS', KEYS[1], KEYS[2]) > 0
    if stale and redis.call('EXISTS', KEYS[1]) == 1 then return nil, {err = 'CORRUPT record'} end
    return nil
  end
  local r = {
    state = tonumber(h[1]), fingerprint = h[2], token = h[3], subject = h[4], route = h[5], epoch = tonumber(h[6] or ''),
    begun = tonumber(h[7] or ''), lease = tonumber(h[8] or ''), answer = tonumber(h[9] or '0'), key = tonumber(h[10] or ''),
    status = tonumber(h[11] or '0'), id = h[12] or '', location = h[13] or '', proven = h[14] == '1',
  }
  if not (r.state and r.fingerprint and r.token and r.subject and r.route and r.epoch and r.begun and r.lease and r.answer
      and r.key and r.status) or r.state < IN_FLIGHT or r.state > UNKNOWN then
    return nil, {err = 'CORRUPT record'}
  end
  if now >= r.key then
    stale = true
    return nil
  end
  if r.state == IN_FLIGHT and now >= r.lease then
    r.state = UNKNOWN
  elseif r.state == COMPLETED and (now >= r.answer or redis.call('EXISTS', KEYS[2]) == 0) then
    r.state = SEALED
  end
  return r
end

-- touch changes nothing, but is replicated: a WAIT behind it proves that replicas have what was read.
local function touch(r) redis.call('HSET', KEYS[1], 't', r.token) end

-- keep_open lists the record as open, for as long as any record of the bucket may live.
local function keep_open(score, key_until)
  redis.call('ZADD', KEYS[3], score, ARGV[1])
  local left = redis.call('PTTL', KEYS[3])
  if left < key_until - now then
    redis.call('PEXPIREAT', KEYS[3], key_until + math.floor((key_until - now) / 4) + 1000)
  end
end

-- settle writes a result into r; made holds further fields of a record that is made anew.
local function settle(r, state, status, id, location, keep_answer, keep_key, body, made)
  local key_until, answer_until = now + math.max(keep_answer, keep_key), 0
  if state == COMPLETED then answer_until = now + keep_answer end
  redis.call('HSET', KEYS[1], 's', state, 'l', 0, 'a', answer_until, 'k', key_until, 'c', status, 'i', id, 'L', location,
    unpack(made))
  redis.call('PEXPIREAT', KEYS[1], key_until)
  if state == COMPLETED and keep_answer > 0 then
    redis.call('SET', KEYS[2], body, 'PXAT', answer_until)
  elseif stale then
    redis.call('DEL', KEYS[2])
  end
  if state == UNKNOWN then
    keep_open(now, key_until)
  else
    redis.call('ZREM', KEYS[3], ARGV[1])
  end
end

-- drop frees the key.
local function drop()
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[1])
end
