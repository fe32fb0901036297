-- Set jobs of a paused task aside, unstarted: no attempt or delivery is used up.
-- KEYS  1 stream   2 pauses   3 aside: what is set aside of that task   4 returned
-- ARGV  1 group   2 consumer   3 task   then per entry: its id, its priority
-- Reply per entry: 1 set aside, 2 handed back since the task is not paused any more, 0 not ours: nothing to do
local group, consumer, reply = ARGV[1], ARGV[2], {}
local ends = tonumber(redis.call('HGET', KEYS[2], 'task:' .. ARGV[3]))
local paused = ends and (ends == 0 or ends > server_ms())
local target = paused and KEYS[3] or KEYS[4]
local added = false
for i = 4, #ARGV, 2 do
  local entry, moved = ARGV[i], 0
  if hold(KEYS[1], group, consumer, entry) then
    if readd(KEYS[1], entry, target, 0, paused and ARGV[i + 1]) then moved = paused and 1 or 2 end
    settle(KEYS[1], group, entry)
    added = added or moved == 1
  end
  reply[#reply + 1] = moved
end
if added then redis.call('HSET', KEYS[2], 'aside:' .. ARGV[3], redis.call('XLEN', KEYS[3])) end
return reply
