-- End a pause; what was set aside because of it may come back.
-- KEYS  1 pauses   then, for a queue that is shared with chasquimq's programs and resumed whole: their flag
-- ARGV  1 field: 'queue', or 'task:' and its name   2 channel
-- Reply 1 if it was paused, 0 if not
local was = redis.call('HDEL', KEYS[1], ARGV[1])
if KEYS[2] then was = math.max(was, redis.call('DEL', KEYS[2])) end
if redis.call('HLEN', KEYS[1]) == 1 then redis.call('DEL', KEYS[1]) end  -- only the number is left
redis.call('PUBLISH', ARGV[2], 'resumed')
return was
