-- Make the jobs of a due schedule and plan it anew, in one step: whoever comes second, or with an old definition, does nothing.
-- KEYS  1 schedules   2 its record   3 ended   4 lane of its jobs   5 delayed   6 lock   then per job: index of its delayed member
--       with a unique key: that key   (and those of _count.lua)
-- ARGV  1 name   2 its planned time, as it was read   3 token of its definition   4 next planned time ('': it has ended)
--       5 the last planned time that fires now ('': none does)   6 who must hold the lock ('': anybody may)
--       7 milliseconds for which an ended one is remembered   8 channel to wake promoters
--       9 fourth byte of delayed members: '0', or the priority of the jobs and one   10 channel to tell of a new lane
--       11 id of the one job that takes the unique key ('': there is no key)   12 next planned time if that is taken ('': it has
--       ended)   13 milliseconds past its due time for which a job holds that key, if nobody ends it
--       then per job: due millisecond, name, envelope
-- Reply 1 done, 2 done, and no job was made: another one holds the unique key; 0 somebody else was quicker, or it is not as it was
local FIRST, STEP = 14, 3
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
local unique = ARGV[11] ~= '' and KEYS[#KEYS]
local left_out = unique and redis.call('EXISTS', unique) == 1
local following = left_out and ARGV[12] or ARGV[4]
if following == '' then redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[7]), name) end
local jobs = 0
for i = FIRST, left_out and 0 or #ARGV, STEP do
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
  if unique then
    local lasts = math.min(tonumber(ARGV[13]) + math.max(0, due - now), 9e15)
    redis.call('SET', unique, '0:' .. ARGV[11], 'PX', string.format('%.0f', lasts))
  end
end
if left_out then redis.call('HINCRBY', KEYS[2], 'left_out', 1) end
if jobs > 0 then
  local fired = tonumber(redis.call('HGET', KEYS[2], 'fired')) or 0
  redis.call('HSET', KEYS[2], 'fired', string.format('%.0f', fired + jobs), 'last', ARGV[5])
end
if following ~= '' then
  redis.call('ZADD', KEYS[1], following, name)
else
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
  redis.call('ZREM', KEYS[1], name)
end
local after = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
if after ~= before and after then redis.call('PUBLISH', ARGV[8], after) end
if fresh and redis.call('EXISTS', KEYS[4]) == 1 then redis.call('PUBLISH', ARGV[10], KEYS[4]) end
tally('added', jobs)
return left_out and 2 or 1
