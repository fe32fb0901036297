-- Remove a schedule and all that is known of it; jobs that it made stay.
-- KEYS  1 schedules   2 its record   3 paused   4 ended
-- ARGV  1 name
-- Reply 1 removed, 0 there was none
local removed = redis.call('DEL', KEYS[2])
for index = 1, 4 do
  if index ~= 2 then removed = removed + redis.call('ZREM', KEYS[index], ARGV[1]) end
end
return removed > 0 and 1 or 0
