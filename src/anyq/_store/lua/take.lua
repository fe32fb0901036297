-- Take new entries from several lanes: from the first that has any, and so on, until there are enough.
-- KEYS  the lanes, in the order in which they are read
-- ARGV  1 group   2 consumer   3 how many at most
-- Reply per lane that had any: its key, its entries
local reply, left = {}, tonumber(ARGV[3])
for lane = 1, #KEYS do
  local found = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', left, 'STREAMS', KEYS[lane], '>')
  if found and found[1] then
    reply[#reply + 1] = found[1]
    left = left - #found[1][2]
    if left <= 0 then break end
  end
end
return reply
