-- End finished jobs that leave nothing behind but their entries: acknowledge, delete, count.
-- No owner check: a late success is still a success.
-- KEYS  1 stream   (and those of _count.lua)
-- ARGV  1 group   then entry ids
-- Reply {} if all were pending; else per entry 1 ended now, -1 it was not there any more
local FEW = 1000  -- entries in one command
local ids = #ARGV - 1

local function acknowledge(from, to) return redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, from, to)) end
local function delete(from, to) return redis.call('XDEL', KEYS[1], unpack(ARGV, from, to)) end
local function all(verb)
  local count = 0
  for i = 2, #ARGV, FEW do count = count + verb(i, math.min(i + FEW - 1, #ARGV)) end
  return count
end

-- Cut off the head of the stream, and give how many entries that were: XDEL searches for each, which costs 20 times as much.
-- Only if nothing but what was acknowledged here is neither pending nor still to be delivered; where the server cannot tell
-- (it is Redis 6.2, an entry was deleted undelivered, there is another group), nothing is cut off.
local function cut()
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
  if groups.err or #groups ~= 1 then return 0 end
  local group = {}
  for i = 1, #groups[1], 2 do group[groups[1][i]] = groups[1][i + 1] end
  local pending, waiting = group.pending, group.lag
  if not waiting or redis.call('XLEN', KEYS[1]) ~= pending + waiting + ids then return 0 end
  if pending == 0 then return redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', waiting) end
  return redis.call('XTRIM', KEYS[1], 'MINID', '=', redis.call('XPENDING', KEYS[1], ARGV[1])[2])
end

if all(acknowledge) == ids then
  if cut() < ids then all(delete) end
  tally('done', ids)
  return {}
end
local reply, done = {}, 0
for at = 1, ids do
  local ended = delete(at + 1, at + 1)
  reply[at] = ended == 1 and 1 or -1
  done = done + ended
end
tally('done', done)
return reply
