-- Add items to groups that gather; once, however often the batch is sent. An open group is a delayed job whose payload is a map of
-- one list: its lengths are written with four bytes each, so an item is put in by changing those, and nothing is decoded. It is
-- let go at once when it is full.
-- KEYS  1 delayed   2 sent   then, with a max_length: pauses, the lanes
--       then per group: what is open, lane, index of a new job   and, with an expected one: the index of that
-- ARGV  1 number of this batch   2 lowest number not yet answered   3 max_length (0: none)   4 seconds to remember
--       5 channel to wake promoters   6 channel to tell of a new lane   7 number of keys for the max_length
--       then per group: id for a new job, id that is expected to be open ('' none), a new job's delayed member up to its payload's
--       length, from there to the length of the list, and from the payload's end on; milliseconds to wait after an item, and
--       after the first one at most; items that a group takes, bytes that its member may have; how many items, items
-- Reply per group, three: id, 1 if that is a new job, how many items it took; or
--       '', 0, 0: nothing was done, there is no room for one more ready job;   id, 0, 0: nothing was done, that one is open and
--       was not expected
local FIRST, STEP = 8, 10
local sent, batch = KEYS[2], ARGV[1]
if effected(sent, batch) then
  local noted = {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', sent, batch, batch)) do
    local place, new, taken, id = string.match(member, '^%d+:(%d+):(%d):(%d+):(.*)$')
    if place then
      noted[3 * place - 2], noted[3 * place - 1], noted[3 * place] = id, tonumber(new), tonumber(taken)
    end
  end
  return noted
end

local limit, counted = tonumber(ARGV[3]), tonumber(ARGV[7])
local room = limit > 0 and limit - ready(3, 2 + counted)
local time = server_ms()

local function four(number)
  return struct.pack('>I4', number)
end

-- Put a group into its lane.
local function let_go(lane, member)
  local a, b, _, d = string.byte(member, 1, 4)
  local size = a + b * 256
  local fresh = d > 0 and redis.call('EXISTS', lane) == 0
  redis.call('XADD', lane, '*', 'd', string.sub(member, 5 + size), 'n', string.sub(member, 5, 4 + size))
  if fresh then redis.call('PUBLISH', ARGV[6], lane) end
  if room then room = room - 1 end
end

-- The open group, if it still takes items: it waits as it was left. One that was let go, cancelled, moved to another time, or
-- has run, is over.
local function still_open(known, index)
  local due, at, list, count, first = string.match(known, '^(%d+):(%d+):(%d+):(%d+):(%d+):')
  local member = redis.call('GET', index)
  if not member or redis.call('ZSCORE', KEYS[1], member) ~= due or tonumber(due) <= time then return end
  at, list = tonumber(at), tonumber(list)
  if string.sub(member, at, at) ~= '\198' or string.sub(member, list, list + 4) ~= '\221' .. four(tonumber(count)) then return end
  return member, at, list, tonumber(count), tonumber(first), tonumber(due)
end

-- An open group with more items. Its index is changed in place: a long string is dear in Lua, and in what goes to replicas.
local function grow(index, member, at, list, count, added)
  local length = struct.unpack('>I4', member, at + 1)
  redis.call('SETRANGE', index, at + 4 + length, added .. string.sub(member, at + 5 + length))
  redis.call('SETRANGE', index, at, four(length + #added))
  redis.call('SETRANGE', index, list, four(count))
  return redis.call('GET', index)
end

local answers, key, i, next_due = {}, 3 + counted, FIRST, nil
while i <= #ARGV do
  local id, expected, head, inner, tail = unpack(ARGV, i, i + 4)
  local waits, longest, size, most = tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6]), tonumber(ARGV[i + 7]), tonumber(ARGV[i + 8])
  local items, first_item = tonumber(ARGV[i + 9]), i + STEP
  local gather, lane, index = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  key = key + 3
  local index_of_expected
  if expected ~= '' then index_of_expected, key = KEYS[key], key + 1 end
  i = first_item + items

  local known = redis.call('GET', gather)
  local holder = known and string.match(known, '^%d+:%d+:%d+:%d+:%d+:(.*)$')
  if holder and holder ~= expected and tonumber(string.match(known, '^%d+')) > time then
    answers[#answers + 1] = { holder, 0, 0 }
  else
    local member, at, list, count, first, was_due
    if holder and holder == expected then
      member, at, list, count, first, was_due = still_open(known, index_of_expected)
    end

    -- One that cannot take the next item is full; that one begins the next group.
    local full
    if member and (count >= size or #member + #ARGV[first_item] > most) then full, member = member, nil end
    if not member then
      at, list, count, first = #head, #head + 4 + #inner, 0, time
    end
    local bytes = member and #member or #head + #inner + #tail + 8
    local taken, last = 0, first_item - 1
    while taken < items and count + taken < size and (bytes + #ARGV[last + 1] <= most or count + taken == 0) do
      taken, last = taken + 1, last + 1
      bytes = bytes + #ARGV[last]
    end
    local due = math.min(time + waits, first + longest)
    local closed = count + taken >= size or bytes >= most or due <= time
    if room and (full and 1 or 0) + (closed and 1 or 0) > room then
      answers[#answers + 1] = { '', 0, 0 }
    else
      local added = table.concat(ARGV, '', first_item, last)
      -- Add first, delete last: and on a full server the first write is the one that is refused.
      if full then let_go(lane, full) end
      local grown
      if member then
        grown = grow(index_of_expected, member, at, list, count + taken, added)
      else
        grown = head .. four(#inner + 4 + #added) .. inner .. four(taken) .. added .. tail
      end
      local mine = member and index_of_expected or index
      if closed then
        let_go(lane, grown)
        redis.call('DEL', gather, mine)
      else
        if member then
          redis.call('ZADD', KEYS[1], string.format('%.0f', due), grown)
          redis.call('PEXPIRE', mine, string.format('%.0f', due - time + INDEX_OUTLIVES))
        else
          delay(KEYS[1], mine, grown, due, time)
        end
        local state = string.format('%.0f:%d:%d:%d:%.0f:', due, at, list, count + taken, first)
        if (not member or due < was_due) and (not next_due or due < next_due) then next_due = due end
        redis.call('SET', gather, state .. (member and expected or id), 'PX', string.format('%.0f', due - time))
      end
      if member then redis.call('ZREM', KEYS[1], member) end
      if full then
        redis.call('ZREM', KEYS[1], full)
        redis.call('DEL', index_of_expected)
      end
      answers[#answers + 1] = { member and expected or id, member and 0 or 1, taken }
    end
  end
end

local reply, begun = {}, 0
for place, answer in ipairs(answers) do
  redis.call('ZADD', sent, batch, table.concat({ batch, place, answer[2], answer[3], answer[1] }, ':'))
  begun = begun + answer[2]
  for _, part in ipairs(answer) do reply[#reply + 1] = part end
end
remember(sent, batch, ARGV[2], ARGV[4])
tally('added', begun)  -- calls, not items
-- What was begun may be due before all others. (To ask for the first of them would be to copy a whole group.)
if next_due then
  local due = string.format('%.0f', next_due)
  if redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. due) == 0 then redis.call('PUBLISH', ARGV[5], due) end
end
return reply
