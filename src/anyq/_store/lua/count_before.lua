-- Count the jobs of a lane that nobody has taken and that come before one, a stretch at a time.
-- KEYS  1 lane
-- ARGV  1 group   2 behind which entry to go on ('': at the first that nobody has taken)   3 the entry of that one   4 entries at most
-- Reply { behind which entry to go on ('' at the end), how many }
local FEW, MOST_BYTES = 16, 2097152  -- a bounded time in which the server serves nobody else: large jobs are seen in small numbers
local place, most = ARGV[2], tonumber(ARGV[4])
if place == '' then
  place = '0-0'
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])  -- refused where there is no such stream
  for _, found in ipairs(groups.err and {} or groups) do
    local facts = {}
    for i = 1, #found, 2 do facts[found[i]] = found[i + 1] end
    if facts.name == ARGV[1] then place = facts['last-delivered-id'] end
  end
end
local count, bytes, step = 0, 0, math.min(FEW, most)
while step > 0 do
  local rows = redis.call('XRANGE', KEYS[1], '(' .. place, '(' .. ARGV[3], 'COUNT', step)
  for _, row in ipairs(rows) do
    place = row[1]
    for i = 2, #row[2], 2 do bytes = bytes + #row[2][i] end
  end
  count = count + #rows
  if #rows < step then return { '', count } end
  step = math.min(most - count, math.floor((MOST_BYTES - bytes) / math.max(1, bytes / count)))
end
return { place, count }
