-- Give jobs up: make them dead letters, end what they own, and tell who waits for their results.
-- KEYS  1 stream   2 dead letters   3 how many of them were ever trimmed   then per job: failure, the keys that the job owns
--       (and those of _count.lua)
-- ARGV  1 group   2 consumer   3 dead letters to keep
--       then per job: entry id, milliseconds to keep the failure ('0': not at all), failure,
--       channel to wake ('': nobody),
--       number of fields and values, fields and values of the dead letter, what the job owns (see _ending.lua)
-- Reply per job: 1 moved, 0 not ours: nothing to do; last the number of old dead letters trimmed
local group, consumer = ARGV[1], ARGV[2]
local reply, dead, key, i = {}, 0, 4, 4
while i <= #ARGV do
  local entry, keep, size = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 4])
  local owns = i + 5 + size
  if hold(KEYS[1], group, consumer, entry) then
    redis.call('XADD', KEYS[2], '*', unpack(ARGV, i + 5, owns - 1))
    local channel = ARGV[i + 3]
    if keep ~= '0' then redis.call('SET', KEYS[key], ARGV[i + 2], 'PX', keep) end
    key, i = end_belongings(key + 1, owns, 'dead')
    if channel ~= '' then redis.call('PUBLISH', channel, 'dead') end
    settle(KEYS[1], group, entry)
    dead = dead + 1
    reply[#reply + 1] = 1
  else
    key, i = skip_belongings(key + 1, owns)
    reply[#reply + 1] = 0
  end
end
local trimmed = redis.call('XTRIM', KEYS[2], 'MAXLEN', '~', ARGV[3])
if trimmed > 0 then redis.call('INCRBY', KEYS[3], trimmed) end
reply[#reply + 1] = trimmed
tally('dead', dead)
return reply
