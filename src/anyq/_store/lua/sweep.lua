-- Hand back what foreign programs have left untouched for long; they have no heartbeat to tell whether they live.
-- KEYS  1 stream   2 returned   (and those of _count.lua)
-- ARGV  1 group   2 idle milliseconds   3 how many at most (or 4 MiB of them)   4 how AnyQ's own consumers begin
-- Reply how many were handed back
local MOST_BYTES = 4194304  -- a bounded time in which the server serves nobody else: large jobs go in small numbers
local group, moved, lost, bytes = ARGV[1], 0, 0, 0
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], group, 'IDLE', ARGV[2], '-', '+', ARGV[3])) do
  local entry, consumer = pending[1], pending[2]
  if bytes >= MOST_BYTES then break end
  if string.sub(consumer, 1, #ARGV[4]) ~= ARGV[4] then
    redis.call('XCLAIM', KEYS[1], group, consumer, 0, entry, 'JUSTID')
    bytes = bytes + (readd(KEYS[1], entry, KEYS[2], pending[4]) or 0)
    settle(KEYS[1], group, entry)
    moved, lost = moved + 1, lost + pending[4]
  end
end
tally('lost', lost)
return moved
