-- Make dead letters ready jobs again; once, however often the batch is sent.
-- KEYS  1 dead letters   2 stream   3 memory of this replay   4 cancels
--       then what the max_length is about: pauses, the lanes (returned, and those of the priorities 0 to 9, unless the queue has
--       but one)
--       then per letter: what its job left: result, failure; with a claim: its taken id; with a unique key: that key
--       (and those of _count.lua)
-- ARGV  1 number of this batch   2 seconds to remember   3 max_length (0: none)
--       4 milliseconds for which a job holds its claims, if nobody ends it   5 number of keys for the max_length
--       6 channel to tell of a new lane
--       then per letter: id, name ('' for none), envelope, claim on the job's id ('' for none), the job's id if it has a unique
--       key (else ''), its priority ('' for the default one)
-- Reply -1 full: nothing done; else per letter 1 replayed, 0 there is no such letter (any more), 'id' the job's id is taken by
--       now, 'unique' another job holds its unique key
local STEP, FIRST = 6, 7
local known = redis.call('GET', KEYS[3])
if known then
  local batch, answers = string.match(known, '^(%d+) (.*)$')
  if batch == ARGV[1] then
    local again = {}
    for answer in string.gmatch(answers, '%S+') do again[#again + 1] = tonumber(answer) or answer end
    return again
  elseif tonumber(batch) > tonumber(ARGV[1]) then
    return {}  -- bytes of a connection that was given up, and they come late: nobody reads this
  end
end
local limit = tonumber(ARGV[3])
if limit > 0 and ready(5, 4 + tonumber(ARGV[5])) + (#ARGV - FIRST + 1) / STEP > limit then return -1 end

-- Whether a claim is free, or still this owner's since before the job died.
local function free(key, owner)
  local held = redis.call('GET', key)
  return not held or string.match(held, '^%d+[:~](.*)$') == owner
end

local reply, replayed, key = {}, 0, 5 + tonumber(ARGV[5])
for i = FIRST, #ARGV, STEP do
  local id, name, claim, unique = ARGV[i], ARGV[i + 1], ARGV[i + 3], ARGV[i + 4]
  local result, failure, taken, lock = KEYS[key], KEYS[key + 1], nil, nil
  key = key + 2
  if claim ~= '' then taken, key = KEYS[key], key + 1 end
  if unique ~= '' then lock, key = KEYS[key], key + 1 end
  local answer = 1
  if #redis.call('XRANGE', KEYS[1], id, id) == 0 then
    answer = 0
  elseif taken and not free(taken, claim) then
    answer = 'id'
  elseif lock and not free(lock, unique) then
    answer = 'unique'
  else
    -- Add first, delete last: and on a full server the first write is the one that is refused.
    local lane = ARGV[i + 5] == '' and KEYS[2] or KEYS[7 + ARGV[i + 5]]
    local fresh = lane ~= KEYS[2] and redis.call('EXISTS', lane) == 0
    if name == '' then
      redis.call('XADD', lane, '*', 'd', ARGV[i + 2])
    else
      redis.call('XADD', lane, '*', 'd', ARGV[i + 2], 'n', name)
    end
    if fresh then redis.call('PUBLISH', ARGV[6], lane) end
    if taken then redis.call('SET', taken, '0:' .. claim, 'PX', ARGV[4]) end
    if lock then redis.call('SET', lock, '0:' .. unique, 'PX', ARGV[4]) end
    redis.call('DEL', result, failure)
    forget_request(KEYS[4], failure)
    redis.call('XDEL', KEYS[1], id)
    replayed = replayed + 1
  end
  reply[#reply + 1] = answer
end
redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. table.concat(reply, ' '), 'EX', ARGV[2])
tally('replayed', replayed)
return reply
