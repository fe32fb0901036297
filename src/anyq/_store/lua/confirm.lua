-- A worker says that it starts nothing any more of what is paused, and wakes who waits for that.
-- KEYS  1 confirmed
-- ARGV  1 worker   2 number of the state of the pauses   3 milliseconds to remember   4 channel
-- Reply 1
-- A write that changes nothing and that a full server allows: what follows is not refused.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[1])
return 1
