-- Delete dead letters; with the same answer, however often the batch is sent.
-- KEYS  1 dead letters   2 memory of this deletion
-- ARGV  1 number of this batch   2 seconds to remember   then the ids
-- Reply how many there were
local known = redis.call('GET', KEYS[2])
if known then
  local batch, count = string.match(known, '^(%d+) (%d+)$')
  if tonumber(batch) >= tonumber(ARGV[1]) then return tonumber(count) end
end
redis.call('XDEL', KEYS[1], '0-0')  -- a write that changes nothing and that a full server allows: what follows is not refused
local count = 0
for i = 3, #ARGV do count = count + redis.call('XDEL', KEYS[1], ARGV[i]) end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. count, 'EX', ARGV[2])
return count
