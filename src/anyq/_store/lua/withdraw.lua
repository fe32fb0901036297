-- Cancel a job that is delayed or waits for others: once its member is removed nobody can let it go, and so it is never delivered.
-- KEYS  1 delayed   2 its index   3 its taken id   4 its failure   5 sent   6 events   7 waiting   8 parked
--       then the keys that the job owns   (and those of _count.lua)
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 seconds to remember   4 member   5 how its failure reads
--       6 milliseconds to keep that   7 channel to wake   8 events to keep   9 id   10 name
--       then what the job owns (see _ending.lua)
-- Reply 1 cancelled (now or by an earlier sending), 0 it does not wait (any more)
if effected(KEYS[5], ARGV[1]) then return 1 end
if redis.call('ZREM', KEYS[1], ARGV[4]) == 0 then
  local waiting = redis.call('HGET', KEYS[7], ARGV[9])
  if not waiting or string.match(waiting, '^%d+%a(.*)$') ~= ARGV[4] then return 0 end
  redis.call('HDEL', KEYS[7], ARGV[9])
elseif is_parked(ARGV[4]) then
  count_parked(KEYS[8], ARGV[4], -1)
end
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
if redis.call('GET', KEYS[3]) == '1' then redis.call('DEL', KEYS[3]) end  -- as chasquimq marks it
tell(KEYS[4], ARGV[7], ARGV[5], ARGV[6])
end_belongings(9, 11, 'cancelled')
note(KEYS[6], ARGV[8], ARGV[9], ARGV[10])
remember(KEYS[5], ARGV[1], ARGV[2], ARGV[3])
tally('cancelled', 1)
return 1
