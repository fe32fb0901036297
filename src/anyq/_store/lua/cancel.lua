-- Cancel a job that lies in a lane. One that nobody has begun to deliver is deleted, and so it is never delivered; of one that a
-- worker has the worker is told: by a message, and by the request that stays for as long as the job does.
-- KEYS  1 lane   2 cancels   3 its failure   4 sent   5 events   6 pauses   then the keys that the job owns
--       (and those of _count.lua)
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 seconds to remember   4 group   5 entry id
--       6 how its failure reads   7 milliseconds to keep that   8 channel to wake   9 events to keep   10 id
--       11 milliseconds for which the request lasts, unless it is renewed   12 channel of the workers
--       13 where the pauses count what this lane holds ('': nowhere)
--       then what the job owns (see _ending.lua)
-- Reply 1 cancelled (now or by an earlier sending), 2 its worker is told, 0 it does not lie there (any more)
if effected(KEYS[4], ARGV[1]) then return 1 end
redis.call('XDEL', KEYS[1], '0-0')  -- a write that changes nothing and that a full server allows: what follows is not refused
local entry = ARGV[5]
local found = redis.call('XRANGE', KEYS[1], entry, entry)[1]
if not found then return 0 end
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[4], entry, entry, 1)  -- an error: there is no group
if not pending.err and #pending > 0 then
  redis.call('ZADD', KEYS[2], string.format('%.0f', server_ms() + tonumber(ARGV[11])), ARGV[10])
  redis.call('PUBLISH', ARGV[12], ARGV[10])
  return 2
end
tell(KEYS[3], ARGV[8], ARGV[6], ARGV[7])
end_belongings(7, 14, 'cancelled')
note(KEYS[5], ARGV[9], ARGV[10], name_of(found[2]))
redis.call('XDEL', KEYS[1], entry)
if ARGV[13] ~= '' then
  local left = redis.call('XLEN', KEYS[1])
  if left > 0 then
    redis.call('HSET', KEYS[6], ARGV[13], left)
  else
    redis.call('DEL', KEYS[1])
    redis.call('HDEL', KEYS[6], ARGV[13])
  end
end
remember(KEYS[4], ARGV[1], ARGV[2], ARGV[3])
tally('cancelled', 1)
return 1
