-- Say what all workers must know: what is paused, and which lanes there are. Pauses whose time is over are forgotten.
-- KEYS  1 pauses   2 stream   then the lanes of the priorities 0 to 9; or, for a queue that is shared with chasquimq's programs
--       and has but one, their flag
-- ARGV  for a worker, which enters the group by this: 1 group   2 consumer
-- Reply { milliseconds of the server's clock, 1 if their flag is set, the priorities whose lanes there are,
--         then fields and values of the pauses }:
--       'number' of this state, 'queue' and 'task:<name>' (until which millisecond, '0': until resumed),
--       'aside:<name>' (how many jobs of that task are set aside)
local now = server_ms()
if ARGV[2] then
  -- A write that changes nothing and that a full server allows: what follows is not refused.
  redis.call('HDEL', KEYS[1], '')
  redis.call('XGROUP', 'CREATECONSUMER', KEYS[2], ARGV[1], ARGV[2])
end
local flagged, priorities = 0, {}
if #KEYS == 3 then
  flagged = redis.call('EXISTS', KEYS[3])
else
  for lane = 3, #KEYS do
    if redis.call('EXISTS', KEYS[lane]) == 1 then priorities[#priorities + 1] = lane - 3 end
  end
end
local reply = { now, flagged, priorities }
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
