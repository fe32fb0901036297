-- Add ready jobs, once, however often the batch is sent.
-- KEYS  1 stream   2 sent: batches of this producer that took effect   then, with a max_length: pauses, the lanes
--       (and those of _count.lua)
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 max_length (0: none)   4 seconds to remember
--       then per job: name ('' for none), envelope
-- Reply 1 added (now or by an earlier sending), -1 full: nothing added
local batch = ARGV[1]
if effected(KEYS[2], batch) then return 1 end
local limit = tonumber(ARGV[3])
if limit > 0 and ready(3, #KEYS) + (#ARGV - 4) / 2 > limit then return -1 end
for i = 5, #ARGV, 2 do
  if ARGV[i] == '' then
    redis.call('XADD', KEYS[1], '*', 'd', ARGV[i + 1])
  else
    redis.call('XADD', KEYS[1], '*', 'd', ARGV[i + 1], 'n', ARGV[i])
  end
end
remember(KEYS[2], batch, ARGV[2], ARGV[4])
tally('added', (#ARGV - 4) / 2)
return 1
