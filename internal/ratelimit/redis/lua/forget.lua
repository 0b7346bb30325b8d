-- Forgets one bucket.
return redis.call('DEL', KEYS[1])
