-- Write a schedule's definition, if the one before is still the one that was read.
-- KEYS  1 schedules   2 its record   3 paused   4 ended
-- ARGV  1 name   2 token of the definition that was read ('': there was none)   3 definition   4 AnyQ's part of it
--       5 planned time   6 '1' if it keeps the planned time that it has   7 '1' if its counters start anew
--       8 channel to wake schedulers
-- Reply 1 written, 0 it is not as it was: read again
local name = ARGV[1]
local record = redis.call('HMGET', KEYS[2], 'spec', 'anyq')
local known = record[1] and redis.sha1hex(record[1] .. (record[2] or '')) or ''
if known ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], 'spec', ARGV[3])
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[2], 'anyq')
else
  redis.call('HSET', KEYS[2], 'anyq', ARGV[4])
end
if ARGV[7] == '1' then redis.call('HDEL', KEYS[2], 'fired', 'last', 'left_out') end
redis.call('PERSIST', KEYS[2])
-- A paused one stays paused: a program that starts must not resume it.
local place = KEYS[1]
if not redis.call('ZSCORE', KEYS[1], name) and redis.call('ZSCORE', KEYS[3], name) then place = KEYS[3] end
if ARGV[6] ~= '1' or not redis.call('ZSCORE', place, name) then redis.call('ZADD', place, ARGV[5], name) end
redis.call('ZREM', KEYS[4], name)
if place == KEYS[1] then
  redis.call('ZREM', KEYS[3], name)
  redis.call('PUBLISH', ARGV[8], name)
end
return 1
