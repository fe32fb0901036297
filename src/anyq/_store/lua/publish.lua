-- Add ready jobs, once, however often the batch is sent.
-- KEYS  1 stream   2 sent: batches of this producer that took effect   3 next: the number of its next batch, as long as they come in
--       their order   then, with a max_length: pauses, the lanes   (and those of _count.lua)
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 max_length (0: none)   4 seconds to remember
--       5 how many jobs in all
--       then for each run of jobs of one task: its name ('' for none), how many they are, their envelopes
-- Reply 1 added (now or by an earlier sending), -1 full: nothing added
-- The path of every job: what it looks up is at hand, and in order one number tells which batches of ready jobs took effect.
local call, stream, args = redis.call, KEYS[1], ARGV
local batch, lowest, limit = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
local following = tonumber(call('GET', KEYS[3]) or nil)
-- Below it all took effect or were answered; from it on none took effect by this script.
if following and batch < following then return 1 end
local ordered = following and (batch == following or batch == lowest)
-- In order that is all, unless somebody may have been told that there was no room: then nothing is added by bytes of a connection that
-- was given up, also when only other scripts acted since. (Whoever else gave up was told that nobody knows.)
if (limit > 0 or not ordered) and effected(KEYS[2], args[1]) then return 1 end
if limit > 0 and ready(4, #KEYS) + args[5] > limit then return -1 end
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
if not following and batch == lowest then
  -- The first, or the first that comes alone again.
  ordered = #call('ZRANGE', KEYS[2], '(' .. batch, '+inf', 'BYSCORE', 'LIMIT', 0, 1) == 0
end
if ordered then
  call('SET', KEYS[3], batch + 1, 'EX', args[4])
else
  if following then
    -- One before it is still to come: from now on each is remembered by itself.
    call('ZADD', KEYS[2], 'GT', following, 'floor')
    call('DEL', KEYS[3])
  end
  remember(KEYS[2], batch, lowest, args[4])
end
tally('added', tonumber(args[5]))
return 1
