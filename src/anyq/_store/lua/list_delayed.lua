-- List delayed jobs in the order in which they are due, a stretch at a time.
-- KEYS  1 delayed
-- ARGV  1 behind which score to go on ('': at the beginning)   2 how many with that score were seen   3 '1' for those due last first
--       4 jobs wanted   5 jobs to look at   6 '1' for the payloads too   7 '=' and the task's name ('': any)
--       8 'parked' for those that bear the mark of parked jobs, 'delayed' for the others ('': both)
-- Reply { score ('' at the end), how many with that score were seen, then per job { score, how many with that score were seen,
--         bytes of its envelope, envelope (without its payload), name, fourth byte of the member } }
local FEW, MOST_BYTES = 8, 2097152  -- a bounded time in which the server serves nobody else: large jobs go in small numbers
local score, seen, newest = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local wanted, looks, whole, task, mark = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1', ARGV[7], ARGV[8]
local MARK = 64  -- in the fourth byte of a member

-- Places move when jobs become due, so a place is told by the score, and by how many with the same one were seen.
local rank = 0
if score ~= '' then
  rank = math.min(seen, redis.call('ZCOUNT', KEYS[1], score, score))
  if newest then
    rank = rank + redis.call('ZCOUNT', KEYS[1], '(' .. score, '+inf')
  else
    rank = rank + redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)
  end
end

local reply, matches, looked, bytes = { '', 0 }, 0, 0, 0
local step = math.min(FEW, looks, wanted)
while step > 0 do
  local rows
  if newest then
    rows = redis.call('ZRANGE', KEYS[1], rank, rank + step - 1, 'REV', 'WITHSCORES')
  else
    rows = redis.call('ZRANGE', KEYS[1], rank, rank + step - 1, 'WITHSCORES')
  end
  for i = 1, #rows, 2 do
    local member, due = rows[i], rows[i + 1]
    seen = due == score and seen + 1 or 1
    score, rank, looked, bytes = due, rank + 1, looked + 1, bytes + #member
    reply[1], reply[2] = score, seen
    local name, envelope, lane = parts(member)
    local marked = lane >= MARK and 'parked' or 'delayed'
    if (task == '' or task == '=' .. name) and (mark == '' or mark == marked) then
      matches = matches + 1
      reply[2 + matches] = {
        score, seen, #envelope, whole and envelope or outline(envelope), string.sub(name, 1, NAME), lane
      }
      if matches == wanted then return reply end
    end
  end
  if #rows < 2 * step then
    reply[1] = ''
    return reply
  end
  step = math.min(looks - looked, math.floor((MOST_BYTES - bytes) / math.max(1, bytes / looked)))
  if task == '' and mark == '' then step = math.min(step, wanted - matches) end
end
return reply
