-- Acknowledge and delete entries whose results are kept, write the results and wake who waits for them.
-- KEYS  1 stream   then per entry: result
-- ARGV  1 group   then per entry: entry id, milliseconds to keep, bytes, channel to wake
-- Reply per entry: 1 acknowledged now, -1 not pending: somebody else has the job, nothing was written
local reply = {}
-- A write that changes nothing and that a full server allows: what follows is not refused.
redis.call('XDEL', KEYS[1], '0-0')
for i = 2, #ARGV, 4 do
  local index = (i - 2) / 4 + 1
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1) > 0 then
    -- Add first, delete last: scripts do not roll back.
    redis.call('SET', KEYS[index + 1], ARGV[i + 2], 'PX', ARGV[i + 1])
    redis.call('PUBLISH', ARGV[i + 3], 'done')
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
    redis.call('XDEL', KEYS[1], ARGV[i])
    reply[index] = 1
  else
    reply[index] = -1
  end
end
return reply
