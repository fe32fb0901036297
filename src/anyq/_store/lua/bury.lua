-- Give jobs up: make them dead letters, and tell who waits for their results.
-- KEYS  1 stream   2 dead letters   then per job with a failure to keep: failure
-- ARGV  1 group   2 consumer   3 dead letters to keep
--       then per job: entry id, milliseconds to keep the failure ('0': none), failure, channel to wake,
--       number of fields and values, fields and values of the dead letter
-- Reply per job: 1 moved, 0 not ours: nothing to do; last the number of old dead letters trimmed
local group, consumer = ARGV[1], ARGV[2]
local reply, key, i = {}, 3, 4
while i <= #ARGV do
  local entry, keep, size = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 4])
  local moved = 0
  if hold(KEYS[1], group, consumer, entry) then
    redis.call('XADD', KEYS[2], '*', unpack(ARGV, i + 5, i + 4 + size))
    if keep > 0 then
      redis.call('SET', KEYS[key], ARGV[i + 2], 'PX', ARGV[i + 1])
      redis.call('PUBLISH', ARGV[i + 3], 'dead')
    end
    settle(KEYS[1], group, entry)
    moved = 1
  end
  if keep > 0 then key = key + 1 end
  reply[#reply + 1] = moved
  i = i + 5 + size
end
reply[#reply + 1] = redis.call('XTRIM', KEYS[2], 'MAXLEN', '~', ARGV[3])
return reply
