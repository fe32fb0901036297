-- Read which jobs are to be cancelled; renew the requests for those that the asking worker holds, and forget what ran out.
-- KEYS  1 cancels
-- ARGV  1 milliseconds for which a request lasts   2 first place   3 last place   then ids that the worker holds
-- Reply ids, those from the first to the last place
local now = server_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', now + tonumber(ARGV[1])), ARGV[i])
end
return redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3])
