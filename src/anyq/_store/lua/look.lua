-- Say what is paused, and forget the pauses whose time is over.
-- KEYS  1 pauses   2 stream   then, for a queue that is shared with chasquimq's programs: their flag
-- ARGV  for a worker, which enters the group by this: 1 group   2 consumer
-- Reply { milliseconds of the server's clock, 1 if their flag is set, then fields and values of the pauses }:
--       'number' of this state, 'queue' and 'task:<name>' (until which millisecond, '0': until resumed),
--       'aside:<name>' (how many jobs of that task are set aside)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] then
  -- A write that changes nothing and that a full server allows: what follows is not refused.
  redis.call('HDEL', KEYS[1], '')
  redis.call('XGROUP', 'CREATECONSUMER', KEYS[2], ARGV[1], ARGV[2])
end
local reply = { now, KEYS[3] and redis.call('EXISTS', KEYS[3]) or 0 }
local fields, left = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #fields, 2 do
  local field, value = fields[i], fields[i + 1]
  local ends = (field == 'queue' or string.sub(field, 1, 5) == 'task:') and tonumber(value)
  if ends and ends ~= 0 and ends <= now then
    redis.call('HDEL', KEYS[1], field)
  else
    left = left + 1
    reply[#reply + 1] = field
    reply[#reply + 1] = value
  end
end
if left == 1 then redis.call('DEL', KEYS[1]) end  -- only the number is left
return reply
