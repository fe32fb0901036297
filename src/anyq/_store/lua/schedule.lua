-- Add jobs that are delayed, have a priority, a caller-chosen id or a unique key; once, however often the batch is sent.
-- KEYS  1 lane of their priority   2 delayed   3 sent   4 cancels   then, with a max_length: pauses, the lanes   then per job
--       with a claim: its taken id, and what an earlier job of this id left: result, failure, progress, log
--       with a unique key: that key
--       when it is delayed: its index
--       with an expected holder that is not itself: the index of that one
--       when others may wait for it: its track
--       when it may replace another: parked   (and those of _count.lua)
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 max_length (0: none)   4 seconds to remember
--       5 channel to wake promoters   6 milliseconds past its due time for which a job holds its claims, if nobody ends it
--       7 fourth byte of their delayed members: '0', or their priority and one   8 channel to tell of a new lane
--       9 number of keys for the max_length
--       then per job: when ('' now, 'in' milliseconds, 'at' epoch milliseconds), that number, name, envelope,
--       claim on its id ('' for a made one), its id if it has a unique key (else ''), milliseconds for which it keeps that
--       key at least, 'last' to replace the job that waits under the key, if that was added so too (else ''),
--       who that is expected to be ('' nobody), 't' when others may wait for it (else '')
-- Reply -1 full: nothing added; else per job
--       1 new, 0 its id was taken, 'h<id>' job <id> holds the unique key (or was replaced by this one, under its own id),
--       'c<id>' nothing was done: job <id> holds the key and was not expected, or does not wait any more
local STEP, FIRST = 10, 10
local batch = ARGV[1]
if effected(KEYS[3], batch) then return answers_of(KEYS[3], batch, (#ARGV - FIRST + 1) / STEP) end

local limit = tonumber(ARGV[3])
if limit > 0 then
  local count = 0
  for i = FIRST, #ARGV, STEP do
    if ARGV[i] == '' then count = count + 1 end
  end
  if count > 0 and ready(5, 4 + tonumber(ARGV[9])) + count > limit then return -1 end
end

local now = server_ms()
local before = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local fresh = ARGV[7] ~= '0' and redis.call('EXISTS', KEYS[1]) == 0
local reply, added, key, life = {}, 0, 5 + tonumber(ARGV[9]), tonumber(ARGV[6])
for i = FIRST, #ARGV, STEP do
  local when, number, name, envelope = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local claim, id, window, expected = ARGV[i + 4], ARGV[i + 5], tonumber(ARGV[i + 6]), ARGV[i + 8]
  local taken, unique, index, index_of_expected, track, parked
  if claim ~= '' then taken, key = key, key + 5 end
  if id ~= '' then unique, key = KEYS[key], key + 1 end
  if when ~= '' then index, key = KEYS[key], key + 1 end
  if expected ~= '' and expected ~= id then index_of_expected, key = KEYS[key], key + 1 end
  if ARGV[i + 9] == 't' then track, key = KEYS[key], key + 1 end
  if ARGV[i + 7] == 'last' then parked, key = KEYS[key], key + 1 end

  local answer, replaced = 1, nil
  local holder, yields = unique and redis.call('GET', unique) or nil, false
  if holder then
    local sign, owner = string.match(holder, '^%d+([:~])(.*)$')
    holder, yields = owner or holder, sign == '~'
  end
  if taken and redis.call('EXISTS', KEYS[taken]) == 1 then
    answer = 0
  elseif holder and not (yields and ARGV[i + 7] == 'last') then
    answer = 'h' .. holder
  elseif holder and holder ~= expected then
    answer = 'c' .. holder
  elseif holder then
    -- The last one wins: over a job that waits, by replacing it; beside one that does not any more, as a new job.
    local waits = redis.call('GET', index_of_expected or index)
    waits = waits and redis.call('ZSCORE', KEYS[2], waits) and waits
    if holder ~= id and not waits then
      answer = 1
    elseif holder == id and waits then
      answer, replaced = 'h' .. id, waits
    else
      answer = 'c' .. holder
    end
  elseif expected ~= '' and expected == id then
    answer = 'c'  -- it was to replace a job that has ended: its id is not this one's
  end

  if answer == 1 or replaced then
    -- Add first, delete last: and on a full server the first write is the one that is refused.
    local due, member = when == 'in' and now + number or number, nil
    if when ~= '' then
      local size = #name
      member = string.char(size % 256, math.floor(size / 256), 0, tonumber(ARGV[7])) .. name .. envelope
      delay(KEYS[2], index, member, due, now)
      if replaced and replaced ~= member then
        redis.call('ZREM', KEYS[2], replaced)
        if is_parked(replaced) then count_parked(parked, replaced, -1) end
      end
    elseif name == '' then
      redis.call('XADD', KEYS[1], '*', 'd', envelope)
    else
      redis.call('XADD', KEYS[1], '*', 'd', envelope, 'n', name)
    end
    local lasts = math.min(life + (member and math.max(0, due - now) or 0), 9e15)
    if track then redis.call('SET', track, 'alive', 'PX', string.format('%.0f', lasts)) end
    if taken then
      redis.call('SET', KEYS[taken], '0:' .. claim, 'PX', string.format('%.0f', lasts))
      redis.call('DEL', unpack(KEYS, taken + 1, taken + 4))
      forget_request(KEYS[4], KEYS[taken + 2])
    end
    if unique then
      local until_ = window > 0 and string.format('%.0f', now + window) or '0'
      local sign = ARGV[i + 7] == 'last' and '~' or ':'
      redis.call('SET', unique, until_ .. sign .. id, 'PX', string.format('%.0f', math.max(lasts, window)))
    end
  end
  if answer == 1 then added = added + 1 end
  reply[#reply + 1] = answer
end

remember_answers(KEYS[3], batch, ARGV[2], ARGV[4], reply)
local after = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if after ~= before and after then redis.call('PUBLISH', ARGV[5], after) end
if fresh and redis.call('EXISTS', KEYS[1]) == 1 then redis.call('PUBLISH', ARGV[8], KEYS[1]) end
tally('added', added)
return reply
