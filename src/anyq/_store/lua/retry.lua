-- Let jobs come back later.
-- KEYS  1 stream   2 delayed   then per job: its index
-- ARGV  1 group   2 consumer   3 channel to wake promoters   then per job: entry id, milliseconds from now, member of delayed
-- Reply per job: 1 moved, 0 not ours: nothing to do
local group, consumer = ARGV[1], ARGV[2]
local before = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local time, reply = now(), {}
for i = 4, #ARGV, 3 do
  local entry, moved, index = ARGV[i], 0, KEYS[(i - 4) / 3 + 3]
  if hold(KEYS[1], group, consumer, entry) then
    delay(KEYS[2], index, ARGV[i + 2], time + tonumber(ARGV[i + 1]), time)
    settle(KEYS[1], group, entry)
    moved = 1
  end
  reply[#reply + 1] = moved
end
local after = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if after ~= before and after then redis.call('PUBLISH', ARGV[3], after) end
return reply
