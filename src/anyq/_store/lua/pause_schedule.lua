-- Pause a schedule: it keeps its planned time, and is not due.
-- KEYS  1 schedules   2 paused
-- ARGV  1 name
-- Reply 1 it is paused (now or before), 0 it is not active
local planned = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not planned then return redis.call('ZSCORE', KEYS[2], ARGV[1]) and 1 or 0 end
redis.call('ZADD', KEYS[2], planned, ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
