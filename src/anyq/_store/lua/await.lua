-- Add jobs that wait for others to end, once, however often the batch is sent. A job that those others have left nothing to wait
-- for is ready at once.
-- KEYS  1 waiting   2 children   3 sent   4 pauses   5 lane of what is handed back   6 to 15 the lanes of the priorities 0 to 9
--       16 cancels   then per job: its track, the tracks of those that it waits for   with a claim: its taken id, and what an
--       earlier job of this id left: result, failure, progress, log   with a unique key: that key   (and those of _count.lua)
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 max_length (0: none)   4 seconds to remember
--       5 milliseconds for which a track lasts, if nobody ends its job   6 how many may wait for one job
--       7 channel to tell of a new lane
--       then per job: id, the job as a delayed member, 'f' to fail with those that it waits for or
--       'r' to run all the same, claim on its id ('' for a made one), milliseconds for which it keeps its unique key at least ('' it
--       has none), how many they are, their ids
-- Reply -1 full: nothing added; else per job
--       1 added, 0 its id was taken, 'h<id>' job <id> holds the unique key, 'u<id>' job <id> is unknown, 'm<id>' too many wait for
--       job <id>: in all of these cases the job was not added
local FIRST, LANES = 8, 6
local batch = ARGV[1]
if effected(KEYS[3], batch) then
  local count, i = 0, FIRST
  while i <= #ARGV do count, i = count + 1, i + 6 + tonumber(ARGV[i + 5]) end
  return answers_of(KEYS[3], batch, count)
end

local limit = tonumber(ARGV[3])
if limit > 0 and ready(4, LANES + 9) >= limit then return -1 end

local reply, added, key, i = {}, 0, LANES + 11, FIRST
while i <= #ARGV do
  local id, member, mode, claim = unpack(ARGV, i, i + 3)
  local window, count = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local track, answer, doom, alive = KEYS[key], 1, false, {}
  local taken = claim ~= '' and key + count + 1
  local unique = window and KEYS[key + count + (taken and 6 or 1)]
  local holder = unique and redis.call('GET', unique)
  if taken and redis.call('EXISTS', KEYS[taken]) == 1 then
    answer = 0
  elseif holder then
    answer = 'h' .. (string.match(holder, '^%d+[:~](.*)$') or holder)
  end
  for place = 1, count do
    local parent = ARGV[i + 5 + place]
    local state = redis.call('GET', KEYS[key + place])
    if not state then
      answer = answer == 1 and 'u' .. parent or answer
    elseif state == 'alive' then
      alive[#alive + 1] = parent
      local _, others = string.gsub(redis.call('HGET', KEYS[2], parent) or '', '\n', '\n')
      if others >= tonumber(ARGV[6]) then answer = answer == 1 and 'm' .. parent or answer end
    elseif state ~= 'done' and mode == 'f' then
      doom = doom or state .. ':' .. parent
    end
  end
  if answer == 1 then
    if doom or #alive == 0 then
      release(LANES, member, doom, ARGV[7])
    else
      redis.call('HSET', KEYS[1], id, #alive .. mode .. member)
      for _, parent in ipairs(alive) do
        local one = claim == '' and id or id .. '\t' .. claim
        redis.call('HSET', KEYS[2], parent, (redis.call('HGET', KEYS[2], parent) or '') .. one .. '\n')
      end
    end
    redis.call('SET', track, 'alive', 'PX', ARGV[5])
    if taken then
      redis.call('SET', KEYS[taken], '0:' .. claim, 'PX', ARGV[5])
      redis.call('DEL', unpack(KEYS, taken + 1, taken + 4))
      forget_request(KEYS[LANES + 10], KEYS[taken + 2])
    end
    if unique then
      local until_ = window > 0 and string.format('%.0f', server_ms() + window) or '0'
      redis.call('SET', unique, until_ .. ':' .. id, 'PX', string.format('%.0f', math.max(tonumber(ARGV[5]), window)))
    end
    added = added + 1
  end
  reply[#reply + 1] = answer
  key, i = key + 1 + count + (taken and 5 or 0) + (unique and 1 or 0), i + 6 + count
end

remember_answers(KEYS[3], batch, ARGV[2], ARGV[4], reply)
tally('added', added)
return reply
