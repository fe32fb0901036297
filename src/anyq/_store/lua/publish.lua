-- Add ready jobs, once, however often the batch is sent.
-- KEYS  1 stream   2 sent: batches of this producer that took effect   then, with a max_length: pauses, the lanes
--       (and those of _count.lua)
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 max_length (0: none)   4 seconds to remember
--       5 how many jobs in all
--       then for each run of jobs of one task: its name ('' for none), how many they are, their envelopes
-- Reply 1 added (now or by an earlier sending), -1 full: nothing added
local batch = ARGV[1]
if effected(KEYS[2], batch) then return 1 end
local limit = tonumber(ARGV[3])
if limit > 0 and ready(3, #KEYS) + ARGV[5] > limit then return -1 end
-- The path of every job: what it looks up is at hand.
local call, stream, args = redis.call, KEYS[1], ARGV
local i = 6
while i < #args do
  local name, last = args[i], i + 1 + args[i + 1]
  for place = i + 2, last do
    if name == '' then
      call('XADD', stream, '*', 'd', args[place])
    else
      call('XADD', stream, '*', 'd', args[place], 'n', name)
    end
  end
  i = last + 1
end
remember(KEYS[2], batch, ARGV[2], ARGV[4])
tally('added', tonumber(ARGV[5]))
return 1
