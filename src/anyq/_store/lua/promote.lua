-- Move due jobs into the stream. One worker, the holder of the lock, does so on time; the others a little later, so that a dead
-- holder costs that little and not its lock's lifetime.
-- KEYS  1 delayed   2 stream   3 dead letters   4 lock   5 parked   then the lanes of the priorities 0 to 9, unless the queue has but one
--       (and those of _count.lua)
-- ARGV  1 holder   2 milliseconds that the lock lasts   3 how many at most (or 4 MiB of them)   4 milliseconds that the others wait
--       5 channel to tell of a new lane
-- Reply { promoted, milliseconds until the next is due (-1: none waits), how many wait, milliseconds the first was late,
--         1 if this worker holds the lock, spoiled, then per promoted job: name, first bytes of its envelope }
local HEAD = 280  -- bytes of an envelope in which its id is found
local FEW, MOST_BYTES = 8, 4194304  -- a bounded time in which the server serves nobody else: large jobs go in small numbers
local now = server_ms()

-- A write that changes nothing and that a full server allows: what follows is not refused.
redis.call('XDEL', KEYS[2], '0-0')
local holder = redis.call('GET', KEYS[4])
if not holder then
  redis.call('SET', KEYS[4], ARGV[1], 'PX', ARGV[2])
  holder = ARGV[1]
elseif holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[4], ARGV[2])
end
local leads = holder == ARGV[1]

local until_ = leads and now or now - tonumber(ARGV[4])
local most = tonumber(ARGV[3])
local promoted, spoiled, bytes, late = 0, 0, 0, 0
local reply = { 0, -1, 0, 0, leads and 1 or 0, 0 }
local step = math.min(FEW, most)
while step > 0 do
  local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', until_), 'WITHSCORES', 'LIMIT', 0, step)
  if due[2] and late == 0 then late = math.min(now, math.max(0, now - tonumber(due[2]))) end  -- a score may be infinite
  for i = 1, #due, 2 do
    local member = due[i]
    local a, b, c, d = string.byte(member, 1, 4)
    -- A name is short: the fourth byte holds the priority, counted from 1, where it is not the default one.
    local parked = is_parked(member)
    if parked then d = d - PARKED end
    local lane = d and d > 0 and KEYS[5 + d]
    local size = d and a + b * 256 + c * 65536 + (lane and 0 or d * 16777216) or -1
    if size < 0 or 4 + size >= #member then
      redis.call('XADD', KEYS[3], '*', 'd', member, 'source_id', '0-0', 'reason', 'malformed',
        'detail', 'a delayed job without a name and an envelope')
      spoiled = spoiled + 1
    else
      local name, envelope = string.sub(member, 5, 4 + size), string.sub(member, 5 + size)
      local fresh = lane and redis.call('EXISTS', lane) == 0
      if size == 0 then
        redis.call('XADD', lane or KEYS[2], '*', 'd', envelope)
      else
        redis.call('XADD', lane or KEYS[2], '*', 'd', envelope, 'n', name)
      end
      if fresh then redis.call('PUBLISH', ARGV[5], lane) end
      reply[#reply + 1] = name
      reply[#reply + 1] = string.sub(envelope, 1, HEAD)
      if parked then count_parked(KEYS[5], member, -1) end
      promoted = promoted + 1
    end
    redis.call('ZREM', KEYS[1], member)
    bytes = bytes + #member
  end
  -- The next step is as large as the bytes allow, judged by the size of what came so far.
  local done = promoted + spoiled
  step = #due < 2 * step and 0 or math.min(most - done, math.floor((MOST_BYTES - bytes) / (bytes / done)))
end
reply[1], reply[4], reply[6] = promoted, math.floor(late), spoiled
tally('dead', spoiled)
local next_due = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if next_due then reply[2] = math.min(now, math.max(0, math.ceil(tonumber(next_due) - now))) end
reply[3] = redis.call('ZCARD', KEYS[1])
return reply
