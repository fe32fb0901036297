-- Add jobs that are delayed or have a caller-chosen id, once, however often the batch is sent.
-- KEYS  1 stream   2 delayed   3 sent   then per job: its taken id, if it has an id of its own; its index, if it is delayed
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 max_length (0: none)   4 seconds to remember
--       5 token: names this batch in the taken ids (with the place of the job in it)   6 channel to wake promoters
--       then per job: when ('' now, 'in' milliseconds, 'at' epoch milliseconds), that number, name, envelope,
--       milliseconds past its due time for which its id stays taken ('0': it has none)
-- Reply -1 full: nothing added; else per job 1 new, 0 its id was taken
local STEP, FIRST = 5, 7
local batch, token = ARGV[1], ARGV[5]
-- One below the floor was answered: these are bytes of a connection that was given up, and they come late.
local known = redis.call('ZMSCORE', KEYS[3], batch, 'floor')
local done = known[1] or known[2] and tonumber(batch) < tonumber(known[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local limit = tonumber(ARGV[3])
if limit > 0 and not done then
  local ready = 0
  for i = FIRST, #ARGV, STEP do
    if ARGV[i] == '' then ready = ready + 1 end
  end
  if ready > 0 and redis.call('XLEN', KEYS[1]) + ready > limit then return -1 end
end

local before = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local reply, key = {}, 4
for i = FIRST, #ARGV, STEP do
  local when, number, name, envelope, keep = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 4])
  local taken, index
  if keep > 0 then
    taken, key = KEYS[key], key + 1
  end
  if when ~= '' then
    index, key = KEYS[key], key + 1
  end
  local by = taken and redis.call('GET', taken)
  if by then
    -- Taken by an earlier sending of this very batch: the job is as new as it was then.
    reply[#reply + 1] = by == token .. ':' .. i and 1 or 0
  elseif done then
    reply[#reply + 1] = 1
  else
    local due = when == 'in' and now + number or number
    if when == '' then
      if name == '' then
        redis.call('XADD', KEYS[1], '*', 'd', envelope)
      else
        redis.call('XADD', KEYS[1], '*', 'd', envelope, 'n', name)
      end
    else
      local size = #name
      local member = string.char(size % 256, math.floor(size / 256), 0, 0) .. name .. envelope
      delay(KEYS[2], index, member, due, now)
    end
    if taken then
      local lasts = keep + (index and math.max(0, due - now) or 0)
      redis.call('SET', taken, token .. ':' .. i, 'PX', string.format('%.0f', lasts))
    end
    reply[#reply + 1] = 1
  end
end

if not done then
  redis.call('ZADD', KEYS[3], batch, batch)
  redis.call('ZADD', KEYS[3], 'GT', ARGV[2], 'floor')
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[2])
  redis.call('EXPIRE', KEYS[3], ARGV[4])
end
local after = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if after ~= before and after then redis.call('PUBLISH', ARGV[6], after) end
return reply
