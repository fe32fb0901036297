-- Remember an ended schedule for longer: a program still asks for it.
-- KEYS  1 its record   2 ended
-- ARGV  1 name   2 milliseconds
-- Reply 1 remembered, 0 it has not ended
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[2], string.format('%.0f', server_ms() + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
