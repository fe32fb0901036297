-- Say that a worker lives, and what it tells about itself.
-- KEYS  1 heartbeat
-- ARGV  1 milliseconds that it lasts   2 what it tells
-- Reply 1 it was still there, 0 it had run out
-- In this order: a full server allows PEXPIRE, and no longer refuses SET once the script has written.
local found = redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
return found
