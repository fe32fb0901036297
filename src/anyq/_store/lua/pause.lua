-- Pause a queue, or one task of it.
-- KEYS  1 pauses   2 confirmations   then, for a queue that is shared with chasquimq's programs and paused whole: their flag
-- ARGV  1 field: 'queue', or 'task:' and its name   2 epoch millisecond until which ('0': until it is resumed)   3 channel
-- Reply the number of this state: whoever confirms it, or a later one, starts nothing of what is paused
-- A write that changes nothing and that a full server allows: what follows is not refused.
redis.call('HDEL', KEYS[1], '')
local time = redis.call('TIME')
-- Microseconds: the number grows also when the last one went with a flush.
local number = math.max((tonumber(redis.call('HGET', KEYS[1], 'number')) or 0) + 1, time[1] * 1000000 + time[2])
-- And when the clock was put back meanwhile: who confirmed an earlier pause has not seen this one.
local confirmed = redis.call('HGETALL', KEYS[2])
for i = 2, #confirmed, 2 do number = math.max(number, tonumber(confirmed[i]) + 1) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], 'number', string.format('%.0f', number))
if KEYS[3] then
  redis.call('SET', KEYS[3], '1')
  if ARGV[2] ~= '0' then redis.call('PEXPIREAT', KEYS[3], ARGV[2]) end
end
redis.call('PUBLISH', ARGV[3], 'paused')
return number
