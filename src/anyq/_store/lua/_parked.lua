-- Put before every script that parks jobs, because no worker knew their task, or lets go of parked ones: it is counted how many
-- there are, in all ('all') and of each task ('task:<name>').

-- With this the fourth byte of a delayed member says that its job is parked; below it lies the priority and one, if anything.
local PARKED, BEYOND = 64, 80

local function is_parked(member)
  local d = string.byte(member, 4)
  return d and d >= PARKED and d < BEYOND
end

-- Count a member that is parked (`by` 1), or is no longer (-1). No job is held up by a number: this never fails.
local function count_parked(parked, member, by)
  local a, b = string.byte(member, 1, 2)
  redis.pcall('ZINCRBY', parked, by, 'all')
  redis.pcall('ZINCRBY', parked, by, 'task:' .. string.sub(member, 5, 4 + a + b * 256))
  if by < 0 then redis.pcall('ZREMRANGEBYSCORE', parked, '-inf', 0) end
end
