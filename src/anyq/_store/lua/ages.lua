-- Tell how long the oldest job has been ready, and when the next delayed one is due.
-- KEYS  1 delayed   2 how many dead letters were ever trimmed   then the lanes
-- ARGV  1 group
-- Reply { milliseconds for which the oldest job that nobody took has been ready (-1: there is none), milliseconds until the next
--         delayed one is due (negative: it is late; '' none waits), how many dead letters were trimmed }
local now = server_ms()
local oldest
for lane = 3, #KEYS do
  local last, groups = '0-0', redis.pcall('XINFO', 'GROUPS', KEYS[lane])  -- refused where there is no such stream
  for _, group in ipairs(groups.err and {} or groups) do
    local facts = {}
    for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
    if facts.name == ARGV[1] then last = facts['last-delivered-id'] end
  end
  local first = redis.call('XRANGE', KEYS[lane], '(' .. last, '+', 'COUNT', 1)[1]
  local since = first and tonumber(string.match(first[1], '^%d+'))
  if since and (not oldest or since < oldest) then oldest = since end
end
local due = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return {
  oldest and math.max(0, now - oldest) or -1,
  due and string.format('%.0f', math.min(9e15, math.max(-9e15, tonumber(due) - now))) or '',
  tonumber(redis.call('GET', KEYS[2]) or 0)
}
