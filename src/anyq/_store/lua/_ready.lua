-- Put before every script that adds ready jobs under a limit.

-- How many jobs are ready: KEYS from `first` to `last` are the pauses, which say how many are set aside, and the lanes.
local function ready(first, last)
  local count, fields = 0, redis.call('HGETALL', KEYS[first])
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 6) == 'aside:' then count = count + tonumber(fields[i + 1]) end
  end
  for key = first + 1, last do count = count + redis.call('XLEN', KEYS[key]) end
  return count
end
