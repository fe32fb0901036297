-- Acknowledge and delete entries whose results are kept, write the results and wake who waits for them.
-- KEYS  1 stream   then per entry: result
-- ARGV  1 group   then per entry: entry id, milliseconds to keep, bytes, channel to wake
-- Reply per entry: 1 acknowledged now, -1 not pending: somebody else has the job, nothing was written
local reply = {}
for i = 2, #ARGV, 4 do
  local index = (i - 2) / 4 + 1
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('SET', KEYS[index + 1], ARGV[i + 2], 'PX', ARGV[i + 1])
    redis.call('XDEL', KEYS[1], ARGV[i])
    redis.call('PUBLISH', ARGV[i + 3], 'done')
    reply[index] = 1
  else
    reply[index] = -1
  end
end
return reply
