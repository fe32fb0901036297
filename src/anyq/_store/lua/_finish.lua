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

-- The id after one; nothing if its last part is too long a number for Lua.
local function after(id)
  local ms, part = string.match(id, '^(%d+)%-(%d+)$')
  return #part < 16 and ms .. '-' .. string.format('%.0f', tonumber(part) + 1)
end

-- Cut off the head of the stream, and give how many entries that were: XDEL searches for each, which costs 20 times as much.
-- What is pending or was never delivered is safe by its id: the cut is before the oldest pending entry, and never behind the last
-- one delivered. What somebody left there who acknowledged and did not delete is safe by the sum of all that lies in the stream;
-- where it does not come out, or the server cannot tell (it is Redis 6.2, an entry was deleted undelivered, there is another
-- group), nothing is cut off.
local function cut(stream, group, acknowledged)
  local groups = redis.call('XINFO', 'GROUPS', stream)
  if #groups ~= 1 then return 0 end
  local told = {}
  for i = 1, #groups[1], 2 do told[groups[1][i]] = groups[1][i + 1] end
  local pending, waiting = told.pending, told.lag
  if not waiting or redis.call('XLEN', stream) ~= pending + waiting + acknowledged then return 0 end
  local first = pending > 0 and redis.call('XPENDING', stream, group)[2] or after(told['last-delivered-id'])
  return first and redis.call('XTRIM', stream, 'MINID', '=', first) or 0
end

-- Acknowledge entries, and delete them if all of them were pending; tell whether they were.
local function finish(stream, group, entries)
  if all(acknowledge, stream, group, entries) < #entries then return false end
  -- An error at the quick way (a right is missing) is none: what is acknowledged must be deleted in this step.
  local could, gone = pcall(cut, stream, group, #entries)
  if not could or gone < #entries then all(delete, stream, group, entries) end
  return true
end
