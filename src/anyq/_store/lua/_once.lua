-- Put before the scripts that act on one job for a producer: what took effect is remembered under the number of its batch, so that
-- one sent again after a lost reply has the same answer.

-- Whether this batch took effect. One below the floor was answered: these are bytes of a connection that was given up.
local function effected(sent, batch)
  local known = redis.call('ZMSCORE', sent, batch, 'floor')
  return known[1] or known[2] and tonumber(batch) < tonumber(known[2])
end

-- Remember that it did, for so many seconds, and forget those below `lowest`, the lowest number not yet answered.
local function remember(sent, batch, lowest, seconds)
  redis.call('ZADD', sent, batch, batch)
  redis.call('ZADD', sent, 'GT', lowest, 'floor')
  redis.call('ZREMRANGEBYSCORE', sent, '-inf', '(' .. lowest)
  redis.call('EXPIRE', sent, seconds)
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
