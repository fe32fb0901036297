-- End jobs that somebody cancelled, and what they own: they were not begun, or were cut short.
-- KEYS  1 stream   2 cancels   then per job: its failure, the keys that it owns   (and those of _count.lua)
-- ARGV  1 group   2 consumer
--       then per job: entry id, id, how its failure reads, milliseconds to keep that, channel to wake, what it owns (see _ending.lua)
-- Reply per job: 1 ended, 0 not ours: nothing to do, 2 ours, and nobody asks for it any more: nothing was done
local group, consumer = ARGV[1], ARGV[2]
local reply, cancelled, key, i = {}, 0, 3, 3
while i <= #ARGV do
  local entry, id = ARGV[i], ARGV[i + 1]
  local ended = 0
  if hold(KEYS[1], group, consumer, entry) then ended = redis.call('ZSCORE', KEYS[2], id) and 1 or 2 end
  if ended == 1 then
    tell(KEYS[key], ARGV[i + 4], ARGV[i + 2], ARGV[i + 3])
    redis.call('ZREM', KEYS[2], id)
    key, i = end_belongings(key + 1, i + 5, 'cancelled')
    settle(KEYS[1], group, entry)
    cancelled = cancelled + 1
  else
    key, i = skip_belongings(key + 1, i + 5)
  end
  reply[#reply + 1] = ended
end
tally('cancelled', cancelled)
return reply
