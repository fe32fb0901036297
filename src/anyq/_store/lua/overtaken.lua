-- Forget requests to cancel jobs that ended by themselves before they were heard of, and wake who waits for that.
-- KEYS  1 cancels
-- ARGV  per job: id, channel to wake
-- Reply how many requests there were
local forgotten = 0
for i = 1, #ARGV, 2 do
  forgotten = forgotten + redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('PUBLISH', ARGV[i + 1], 'over')
end
return forgotten
