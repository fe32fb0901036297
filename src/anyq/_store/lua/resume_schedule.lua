-- Let a paused schedule go on, if its definition is still the one that was read.
-- KEYS  1 schedules   2 its record   3 paused   4 ended
-- ARGV  1 name   2 token of its definition   3 planned time ('': its end came while it was paused)
--       4 milliseconds for which an ended one is remembered   5 channel to wake schedulers
-- Reply 1 resumed, 0 it is not as it was, or not paused: read again
local name = ARGV[1]
if not redis.call('ZSCORE', KEYS[3], name) then return 0 end
local record = redis.call('HMGET', KEYS[2], 'spec', 'anyq')
if redis.sha1hex((record[1] or '') .. (record[2] or '')) ~= ARGV[2] then return 0 end
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[1], ARGV[3], name)
  redis.call('PUBLISH', ARGV[5], name)
else
  redis.call('ZADD', KEYS[4], string.format('%.0f', server_ms() + ARGV[4]), name)
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
redis.call('ZREM', KEYS[3], name)
return 1
