-- Put before every script that ends finished jobs, hundreds at a time.
local FEW = 1000  -- entries in one command

local function acknowledge(stream, group, entries, from, to) return redis.call('XACK', stream, group, unpack(entries, from, to)) end
local function delete(stream, _, entries, from, to) return redis.call('XDEL', stream, unpack(entries, from, to)) end
local function all(verb, stream, group, entries)
  local count = 0
  for from = 1, #entries, FEW do
    count = count + verb(stream, group, entries, from, math.min(from + FEW - 1, #entries))
  end
  return count
end

-- Cut off the head of the stream, and give how many entries that were: XDEL searches for each, which costs 20 times as much.
-- Only if nothing but what was acknowledged just now is neither pending nor still to be delivered; where the server cannot tell
-- (it is Redis 6.2, an entry was deleted undelivered, there is another group), nothing is cut off.
local function cut(stream, group, acknowledged)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err or #groups ~= 1 then return 0 end
  local told = {}
  for i = 1, #groups[1], 2 do told[groups[1][i]] = groups[1][i + 1] end
  local pending, waiting = told.pending, told.lag
  if not waiting or redis.call('XLEN', stream) ~= pending + waiting + acknowledged then return 0 end
  if pending == 0 then return redis.call('XTRIM', stream, 'MAXLEN', '=', waiting) end
  return redis.call('XTRIM', stream, 'MINID', '=', redis.call('XPENDING', stream, group)[2])
end

-- Acknowledge entries, and delete them if all of them were pending; tell whether they were.
local function finish(stream, group, entries)
  if all(acknowledge, stream, group, entries) < #entries then return false end
  if cut(stream, group, #entries) < #entries then all(delete, stream, group, entries) end
  return true
end
