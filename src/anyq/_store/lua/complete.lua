-- End finished jobs that leave more behind than their entry: acknowledge and delete, write the results that are kept, end what
-- the jobs own, and wake who waits.
-- KEYS  1 stream   then per entry: result, the keys that the job owns   (and those of _count.lua)
-- ARGV  1 group   then per entry: entry id, milliseconds to keep the result ('0': not at all), its bytes,
--       channel to wake ('': nobody), what the job owns (see _ending.lua)
-- Reply per entry: 1 acknowledged now, -1 not pending: somebody else has the job, nothing was written
local reply, ended = {}, {}
-- A write that changes nothing and that a full server allows: what follows is not refused.
redis.call('XDEL', KEYS[1], '0-0')
local key, i = 2, 2
local function end_next()
  local entry, keep, bytes, channel, result = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], KEYS[key]
  if not ended[entry] and #redis.call('XPENDING', KEYS[1], ARGV[1], entry, entry, 1) > 0 then
    -- Add first, delete last: scripts do not roll back.
    if keep ~= '0' then redis.call('SET', result, bytes, 'PX', keep) end
    key, i = end_belongings(key + 1, i + 4, 'done')
    if channel ~= '' then redis.call('PUBLISH', channel, 'done') end
    ended[#ended + 1], ended[entry] = entry, true
    reply[#reply + 1] = 1
  else
    key, i = skip_belongings(key + 1, i + 4)
    reply[#reply + 1] = -1
  end
end
local well, problem = true, nil
while well and i <= #ARGV do well, problem = pcall(end_next) end
-- Those before one that cannot be ended are at their end all the same: they must not run again.
if #ended > 0 then finish(KEYS[1], ARGV[1], ended) end
tally('done', #ended)
if not well then return redis.error_reply(problem) end
return reply
