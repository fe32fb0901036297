-- Read what was counted.
-- KEYS  1 counts   2 history   3 parked
-- ARGV  1 how many minutes of the history, the newest   2 how many parked tasks, those with the most jobs
-- Reply { the server's milliseconds, totals: names and numbers, parked jobs: likewise, and `all` among them,
--         then per minute { id, names and numbers } }
local reply = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[1])
table.insert(reply, 1, redis.call('ZRANGE', KEYS[3], 0, ARGV[2], 'REV', 'WITHSCORES'))
table.insert(reply, 1, redis.call('HGETALL', KEYS[1]))
table.insert(reply, 1, server_ms())
return reply
