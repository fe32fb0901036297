-- Make the jobs of a due schedule and plan it anew, in one step: whoever comes second, or with an old definition, does nothing.
-- KEYS  1 schedules   2 its record   3 ended   4 lane of its jobs   5 delayed   6 lock   then per job: index of its delayed member
--       (and those of _count.lua)
-- ARGV  1 name   2 its planned time, as it was read   3 token of its definition   4 next planned time ('': it has ended)
--       5 the last planned time that fires now ('': none does)   6 who must hold the lock ('': anybody may)
--       7 milliseconds for which an ended one is remembered   8 channel to wake promoters
--       9 fourth byte of delayed members: '0', or the priority of the jobs and one   10 channel to tell of a new lane
--       then per job: due millisecond, name, envelope
-- Reply 1 done, 0 somebody else was quicker, or it is not as it was
local FIRST, STEP = 11, 3
local name = ARGV[1]
if redis.call('ZSCORE', KEYS[1], name) ~= ARGV[2] then return 0 end
local record = redis.call('HMGET', KEYS[2], 'spec', 'anyq')
if redis.sha1hex((record[1] or '') .. (record[2] or '')) ~= ARGV[3] then return 0 end
if ARGV[6] ~= '' and redis.call('GET', KEYS[6]) ~= ARGV[6] then return 0 end
local now = server_ms()

-- Add first: the first write is one that a full server refuses, and then nothing has happened. A key of another type is met
-- before it.
local before = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
local fresh = redis.call('XLEN', KEYS[4]) == 0 and ARGV[9] ~= '0' and redis.call('EXISTS', KEYS[4]) == 0
if ARGV[4] == '' then redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[7]), name) end
local jobs = 0
for i = FIRST, #ARGV, STEP do
  local due, task, envelope = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  jobs = jobs + 1
  if due > now then
    local size = #task
    local member = string.char(size % 256, math.floor(size / 256), 0, tonumber(ARGV[9])) .. task .. envelope
    delay(KEYS[5], KEYS[6 + jobs], member, due, now)
  elseif task == '' then
    redis.call('XADD', KEYS[4], '*', 'd', envelope)
  else
    redis.call('XADD', KEYS[4], '*', 'd', envelope, 'n', task)
  end
end
if jobs > 0 then
  local fired = tonumber(redis.call('HGET', KEYS[2], 'fired')) or 0
  redis.call('HSET', KEYS[2], 'fired', string.format('%.0f', fired + jobs), 'last', ARGV[5])
end
if ARGV[4] ~= '' then
  redis.call('ZADD', KEYS[1], ARGV[4], name)
else
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
  redis.call('ZREM', KEYS[1], name)
end
local after = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
if after ~= before and after then redis.call('PUBLISH', ARGV[8], after) end
if fresh and redis.call('EXISTS', KEYS[4]) == 1 then redis.call('PUBLISH', ARGV[10], KEYS[4]) end
tally('added', jobs)
return 1
