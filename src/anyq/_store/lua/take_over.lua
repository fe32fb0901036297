-- Hand back, for a worker without a heartbeat, what it held; each delivery is counted as lost.
-- KEYS  1 heartbeat of that worker   2 returned   then the lanes   (and those of _count.lua)
-- ARGV  1 group   2 consumer   3 how many at most, per lane (or 4 MiB of them in all)
-- Reply -1 it is alive; else how many were handed back (0: nothing left, and the consumer is gone)
local MOST_BYTES = 4194304  -- a bounded time in which the server serves nobody else: large jobs go in small numbers
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
local group, consumer, moved, lost, bytes = ARGV[1], ARGV[2], 0, 0, 0
for lane = 3, #KEYS do
  for _, pending in ipairs(redis.call('XPENDING', KEYS[lane], group, '-', '+', ARGV[3], consumer)) do
    if bytes >= MOST_BYTES then break end
    local entry = pending[1]
    hold(KEYS[lane], group, consumer, entry)
    bytes = bytes + (readd(KEYS[lane], entry, KEYS[2], pending[4]) or 0)
    settle(KEYS[lane], group, entry)
    moved, lost = moved + 1, lost + pending[4]
  end
end
if moved == 0 then
  redis.call('DEL', KEYS[1])  -- not there; but before Redis 7 a full server refuses XGROUP, unless the script has written
  for lane = 3, #KEYS do redis.call('XGROUP', 'DELCONSUMER', KEYS[lane], group, consumer) end
end
tally('lost', lost)
return moved
