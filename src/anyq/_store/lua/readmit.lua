-- Let jobs that were set aside come back, if their task is not paused any more.
-- KEYS  1 pauses   2 aside: what is set aside of that task   3 returned   then the lanes of the priorities 0 to 9, unless the
--       queue has but one
-- ARGV  1 task   2 how many at most (or 4 MiB of them)
-- Reply -1 it is paused: nothing changed; else how many came back
local FEW, MOST_BYTES = 8, 4194304  -- a bounded time in which the server serves nobody else: large jobs go in small numbers
local field = 'aside:' .. ARGV[1]
local ends = tonumber(redis.call('HGET', KEYS[1], 'task:' .. ARGV[1]))
if ends and (ends == 0 or ends > server_ms()) then return -1 end
-- A write that changes nothing and that a full server allows: what follows is not refused.
redis.call('XDEL', KEYS[2], '0-0')
-- What waited comes before what came later; but in a queue with priorities each goes to the end of its own lane, or
-- a crowd of low ones would come before all others.
local several = false
for lane = 4, #KEYS do
  several = several or lane - 4 ~= DEFAULT_PRIORITY and redis.call('EXISTS', KEYS[lane]) == 1
end
local most, moved, bytes = tonumber(ARGV[2]), 0, 0
local step = math.min(FEW, most)
while step > 0 do
  local rows = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', step)
  for _, row in ipairs(rows) do
    local priority = DEFAULT_PRIORITY
    for i = 1, math.min(#row[2], 7000), 2 do
      if row[2][i] == PRIORITY_FIELD then priority = tonumber(row[2][i + 1]) end
    end
    bytes = bytes + (readd(KEYS[2], row[1], several and KEYS[4 + priority] or KEYS[3], 0) or 0)
    redis.call('XDEL', KEYS[2], row[1])
  end
  moved = moved + #rows
  if #rows < step then break end
  step = math.min(most - moved, math.floor((MOST_BYTES - bytes) / math.max(1, bytes / moved)))
end
local left = redis.call('XLEN', KEYS[2])
if left > 0 then
  redis.call('HSET', KEYS[1], field, left)
else
  redis.call('DEL', KEYS[2])
  redis.call('HDEL', KEYS[1], field)
  if redis.call('HLEN', KEYS[1]) == 1 then redis.call('DEL', KEYS[1]) end  -- only the number is left
end
return moved
