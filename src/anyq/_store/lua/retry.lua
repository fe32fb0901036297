-- Let jobs come back later.
-- KEYS  1 stream   2 delayed   3 cancels   4 parked   then per job: its index   (and those of _count.lua)
-- ARGV  1 group   2 consumer   3 channel to wake promoters
--       then per job: entry id, milliseconds from now, member of delayed, id, '1' if a run failed: then it is counted
-- Reply per job: 1 moved, 0 not ours: nothing to do, 2 ours, and somebody cancelled it: nothing was done
local group, consumer = ARGV[1], ARGV[2]
local before = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local time, reply, cancels, retried = server_ms(), {}, redis.call('EXISTS', KEYS[3]) == 1, 0
for i = 4, #ARGV, 5 do
  local entry, moved, index = ARGV[i], 0, KEYS[(i - 4) / 5 + 5]
  if hold(KEYS[1], group, consumer, entry) then
    if cancels and redis.call('ZSCORE', KEYS[3], ARGV[i + 3]) then
      moved = 2
    else
      delay(KEYS[2], index, ARGV[i + 2], time + tonumber(ARGV[i + 1]), time)
      if is_parked(ARGV[i + 2]) then count_parked(KEYS[4], ARGV[i + 2], 1) end
      settle(KEYS[1], group, entry)
      moved = 1
      if ARGV[i + 4] == '1' then retried = retried + 1 end
    end
  end
  reply[#reply + 1] = moved
end
local after = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if after ~= before and after then redis.call('PUBLISH', ARGV[3], after) end
tally('retried', retried)
return reply
