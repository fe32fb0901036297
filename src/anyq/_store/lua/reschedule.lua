-- Let a delayed job wait for another time.
-- KEYS  1 delayed   2 its index   3 its taken id   4 sent   then the keys that the job owns
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 seconds to remember   4 member
--       5 when ('in' milliseconds, 'at' epoch milliseconds)   6 that number   7 channel to wake promoters
--       8 milliseconds past its due time for which a job holds its claims, if nobody ends it
-- Reply 1 moved (now or by an earlier sending), 0 it is not delayed (any more)
if effected(KEYS[4], ARGV[1]) then return 1 end
if not redis.call('ZSCORE', KEYS[1], ARGV[4]) then return 0 end
local time = server_ms()
local due = ARGV[5] == 'in' and time + tonumber(ARGV[6]) or tonumber(ARGV[6])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '+inf', '-inf')  -- a write that changes nothing and that a full server allows: what follows is not refused
local before = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
delay(KEYS[1], KEYS[2], ARGV[4], due, time)
-- What is taken stays so for as long as the job waits, and longer: an hour for an id as chasquimq marks it.
for i = 3, #KEYS do
  if i ~= 4 then
    local lasts = math.min(math.max(0, due - time) + (i == 3 and 3600000 or tonumber(ARGV[8])), 9e15)
    local left = redis.call('PTTL', KEYS[i])
    if left > 0 and left < lasts then redis.call('PEXPIRE', KEYS[i], string.format('%.0f', lasts)) end
  end
end
local after = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if after ~= before then redis.call('PUBLISH', ARGV[7], after) end
remember(KEYS[4], ARGV[1], ARGV[2], ARGV[3])
return 1
