-- Put before every script that ends jobs: what a job owns ends with it, and who waits for it is let go, in the same step.

-- Put a delayed member (name length, priority, name, envelope) into the lane of its priority; `doom` says why it must not be run, or
-- is false. KEYS from `lanes` on: the lanes of the priorities 0 to 9. `widened` is the channel to tell of a new lane.
local function release(lanes, member, doom, widened)
  local a, b, _, d = string.byte(member, 1, 4)
  local name, envelope = string.sub(member, 5, 4 + a + b * 256), string.sub(member, 5 + a + b * 256)
  local lane = KEYS[lanes + (d > 0 and d - 1 or 5)]
  local fresh = d > 0 and redis.call('EXISTS', lane) == 0
  local fields = { 'd', envelope }
  if name ~= '' then fields[3], fields[4] = 'n', name end
  if doom then
    fields[#fields + 1] = 'doom'
    fields[#fields + 1] = doom
  end
  redis.call('XADD', lane, '*', unpack(fields))
  if fresh then redis.call('PUBLISH', widened, lane) end
end

-- Write down how a job ended, and let go of those that wait for it: those that waited for nothing else may run, those that fail
-- with it are doomed, at once. Each leaves `waiting` when it is let go, so nobody is let go twice. One with a chosen id is known
-- by its claim too: cancelled, it is not there any more, and another may wait under its id, for others.
-- KEYS from `key` on: its track, the hashes waiting and children, the lanes of the priorities 0 to 9.
local BESIDE = 12  -- those behind the track
local function follow_up(key, id, outcome, keep)
  local track, waiting, children = unpack(KEYS, key, key + 2)
  local widened = string.sub(waiting, 1, #waiting - #'waiting') .. 'widened'  -- both begin with the queue's tag
  for child in string.gmatch(redis.call('HGET', children, id) or '', '[^\n]+') do
    local name, claim = string.match(child, '^([^\t]*)\t?(.*)$')
    local kept = redis.call('HGET', waiting, name)
    if kept and (claim == '' or string.find(kept, claim, 1, true)) then
      local left, mode, start = string.match(kept, '^(%d+)(%a)()')
      local member = string.sub(kept, start)
      local doomed = mode == 'f' and outcome ~= 'done'
      left = tonumber(left) - 1
      if doomed or left == 0 then
        release(key + 3, member, doomed and outcome .. ':' .. id, widened)
        redis.call('HDEL', waiting, name)
      else
        redis.call('HSET', waiting, name, left .. mode .. member)
      end
    end
  end
  redis.call('HDEL', children, id)
  if keep > 0 then
    redis.call('SET', track, outcome, 'PX', string.format('%.0f', keep))
  else
    redis.call('DEL', track)
  end
end

-- End the belongings of one job. KEYS from `key` on: the keys; ARGV from `i` on: how many, then per key: what it is, milliseconds
-- to keep it ('0': none). It is 'o', the job's alone; or 'c<owner>', a claim, '<until>:<owner>' (or '~': a later job may replace
-- that one), which goes if it is still that owner's, yet not before `until` (epoch milliseconds); or 't<id>', its track, with the
-- keys that `follow_up` needs behind it. `outcome` is done, dead or cancelled. Gives the next key and the next argument.
local function end_belongings(key, i, outcome)
  local last = i + 2 * tonumber(ARGV[i])
  for at = i + 1, last, 2 do
    local kind, owner = string.sub(ARGV[at], 1, 1), string.sub(ARGV[at], 2)
    local keep, mine = tonumber(ARGV[at + 1]), true
    if kind == 't' then
      follow_up(key, owner, outcome, keep)
      key = key + BESIDE
    else
      if kind == 'c' then
        local until_, by = string.match(redis.call('GET', KEYS[key]) or '', '^(%d+)[:~](.*)$')
        mine = by == owner
        if mine and until_ ~= '0' then keep = math.max(keep, tonumber(until_) - server_ms()) end
      end
      if mine and keep > 0 then
        redis.call('PEXPIRE', KEYS[key], string.format('%.0f', keep))
      elseif mine then
        redis.call('DEL', KEYS[key])
      end
    end
    key = key + 1
  end
  return key, last + 1
end

-- The same two numbers for a job that has ended before, and nothing is changed.
local function skip_belongings(key, i)
  local last = i + 2 * tonumber(ARGV[i])
  for at = i + 1, last, 2 do
    key = key + (string.sub(ARGV[at], 1, 1) == 't' and 1 + BESIDE or 1)
  end
  return key, last + 1
end

