-- Say which schedules are due. One worker, the holder of the lock, starts their runs on time; the others look a little later, so
-- that a dead holder costs that little and not its lock's lifetime.
-- KEYS  1 schedules   2 lock   3 declared
-- ARGV  1 holder   2 milliseconds that the lock lasts   3 milliseconds that the others wait ('': they start none)
--       4 how many at most   5 how many of the due ones to leave out before
-- Reply { the server's milliseconds, milliseconds until the next is due (-1: none), 1 if nobody else holds the lock,
--         1 if the declared ones were written, then the names of those due }
local now = server_ms()
local function ms(number) return string.format('%.0f', number) end

local reply = { now, -1, 0, redis.call('EXISTS', KEYS[3]) }
local later = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ms(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
if later then reply[2] = math.min(now, math.ceil(tonumber(later) - now)) end  -- a score may be infinite

local holder = redis.call('GET', KEYS[2])
if redis.call('ZCOUNT', KEYS[1], '-inf', ms(now)) > 0 then
  if not holder then
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
    holder = ARGV[1]
  elseif holder == ARGV[1] then
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
  end
  if holder == ARGV[1] or ARGV[3] ~= '' then
    local until_ = holder == ARGV[1] and now or now - tonumber(ARGV[3])
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms(until_), 'LIMIT', ARGV[5], ARGV[4])) do
      reply[#reply + 1] = name
    end
    -- What is due and left to the holder for a moment is looked at again after that.
    if redis.call('ZCOUNT', KEYS[1], '(' .. ms(until_), ms(now)) > 0 then reply[2] = tonumber(ARGV[3]) end
  end
end
if not holder or holder == ARGV[1] then reply[3] = 1 end
return reply
