-- Leave the group, if nothing is held: a bare DELCONSUMER would throw pending jobs away without a word.
-- KEYS  1 heartbeat   then the lanes
-- ARGV  1 group   2 consumer
-- Reply 1 gone, 0 something is still held: nothing changed
for lane = 2, #KEYS do
  if #redis.call('XPENDING', KEYS[lane], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
end
-- In this order: before Redis 7 a full server refuses XGROUP, unless the script has written.
redis.call('DEL', KEYS[1])
for lane = 2, #KEYS do redis.call('XGROUP', 'DELCONSUMER', KEYS[lane], ARGV[1], ARGV[2]) end
return 1
