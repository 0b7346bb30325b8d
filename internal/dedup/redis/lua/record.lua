-- What all steps share: a record as it counts now. It mirrors package record; the differential test holds both together.
--
-- KEYS: 1 the record, 2 its answer, 3 the open records of its bucket (sorted set: lease end -> record key).
-- ARGV[1] is the record's raw key, the member of KEYS[3]. Instants and durations are milliseconds.
--
-- A record is one packed string and not a hash: half the commands, and half the time of a step. Big endian: version, state,
-- fingerprint 32, token 16, subject 16, epoch 4, begun, lease, answer until, key until 8 each, status 2, proven 1 (a replica was
-- seen to have the result), then route, request id and location, each after its length in 4.
--
-- The first write of a step is always one that Redis refuses when it has no room, so a refused step has written nothing.
local LAYOUT, FIXED, VERSION = '>BBc32c16c16I4I8I8I8I8I2BI4c0I4c0I4c0', 117, 1
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

-- at gives the record, nil when it is absent, and an error when nobody can read it.
local function at()
  local packed = redis.call('GET', KEYS[1])
  if not packed then return nil end
  if #packed < FIXED or packed:byte(1) ~= VERSION then return nil, {err = 'CORRUPT record'} end
  local _, state, fingerprint, token, subject, epoch, begun, lease, answer, key, status, proven, route, id, location =
    struct.unpack(LAYOUT, packed)
  if state < IN_FLIGHT or state > UNKNOWN then return nil, {err = 'CORRUPT record'} end
  if now >= key then return nil end
  if state == IN_FLIGHT and now >= lease then
    state = UNKNOWN
  elseif state == COMPLETED and (now >= answer or redis.call('EXISTS', KEYS[2]) == 0) then
    state = SEALED
  end
  return {state = state, fingerprint = fingerprint, token = token, subject = subject, epoch = epoch, begun = begun, lease = lease,
    answer = answer, key = key, status = status, proven = proven, route = route, id = id, location = location}
end

-- whole writes an instant as Redis reads it; numbers would be written with the digits of a fraction, which takes longer.
local function whole(instant) return string.format('%d', instant) end

-- save writes the record. Also when it is as it was: a WAIT behind that proves that replicas have what was read.
local function save(r)
  redis.call('SET', KEYS[1], struct.pack(LAYOUT, VERSION, r.state, r.fingerprint, r.token, r.subject, r.epoch, r.begun, r.lease,
    r.answer, r.key, r.status, r.proven, #r.route, r.route, #r.id, r.id, #r.location, r.location), 'PXAT', whole(r.key))
end

-- settle writes a result.
local function settle(r, state, status, id, location, keep_answer, keep_key, body)
  r.state, r.status, r.id, r.location, r.lease, r.answer, r.proven = state, tonumber(status), id, location, 0, 0, 0
  r.key = now + math.max(keep_answer, keep_key)
  if state == COMPLETED then r.answer = now + keep_answer end
  save(r)
  if state == COMPLETED and keep_answer > 0 then redis.call('SET', KEYS[2], body, 'PXAT', whole(r.answer)) end
  if state == UNKNOWN then
    redis.call('ZADD', KEYS[3], whole(now), ARGV[1])
  else
    redis.call('ZREM', KEYS[3], ARGV[1])
  end
end

-- drop frees the key.
local function drop()
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[1])
end
