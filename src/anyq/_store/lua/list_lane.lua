-- List jobs that lie in a lane, a stretch of it at a time: those that workers have, or those that nobody has.
-- KEYS  1 lane
-- ARGV  1 group ('': nobody reads the stream, and nobody has what lies there)   2 '1' for what workers have
--       3 behind which entry to go on ('': at the beginning)   4 '1' for the newest first   5 jobs wanted   6 entries to look at
--       7 '1' for the payloads too   8 '=' and the task's name ('': any)
-- Reply { behind which entry to go on ('' at the end), then per job { entry id, bytes of its envelope, envelope (without its
--         payload), name, how often it was lost with a worker, priority with which it was set aside, whose it is,
--         milliseconds since that one took or renewed it } }
local FEW, MOST_BYTES = 8, 2097152  -- a bounded time in which the server serves nobody else: large jobs go in small numbers
local lane, group, held, place, newest = KEYS[1], ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4] == '1'
local wanted, looks, whole = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local any, task = ARGV[8] == '', string.sub(ARGV[8], 2)

-- Whether one entry id comes after another.
local function after(one, other)
  local ms, number = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_number = string.match(other, '^(%d+)-(%d+)$')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  return ms > other_ms or ms == other_ms and tonumber(number) > tonumber(other_number)
end

local delivered = '0-0'
local groups = group ~= '' and redis.pcall('XINFO', 'GROUPS', lane) or {}  -- refused where there is no such stream
for _, found in ipairs(groups.err and {} or groups) do
  local facts = {}
  for i = 1, #found, 2 do facts[found[i]] = found[i + 1] end
  if facts.name == group then delivered = facts['last-delivered-id'] end
end
if held and delivered == '0-0' then return { '' } end

local first, last = held and '-' or '(' .. delivered, held and delivered or '+'
if place ~= '' and newest then
  last = '(' .. place
elseif place ~= '' and (held or after(place, delivered)) then
  first = '(' .. place
end

local reply, matches, looked, bytes = { '' }, 0, 0, 0
local step = math.min(FEW, looks, wanted)
while step > 0 do
  local rows
  if newest then
    rows = redis.call('XREVRANGE', lane, last, first, 'COUNT', step)
  else
    rows = redis.call('XRANGE', lane, first, last, 'COUNT', step)
  end
  for _, row in ipairs(rows) do
    local entry, flat, name = row[1], row[2], ''
    for i = 2, #flat, 2 do
      bytes = bytes + #flat[i]
      if flat[i - 1] == 'n' then name = flat[i] end
    end
    looked, place = looked + 1, entry
    if any or name == task then
      local pending = held and redis.call('XPENDING', lane, group, entry, entry, 1)[1]
      if pending or not held then
        local fields = {}
        for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
        local envelope = fields.d or ''
        matches = matches + 1
        reply[1 + matches] = {
          entry, #envelope, whole and envelope or outline(envelope), string.sub(name, 1, NAME),
          string.sub(fields.l or '', 1, 20), string.sub(fields.priority or '', 1, 20), pending and pending[2] or '',
          pending and pending[3] or 0
        }
        if matches == wanted then
          reply[1] = place
          return reply
        end
      end
    end
  end
  if #rows < step then return reply end
  if newest then last = '(' .. place else first = '(' .. place end
  step = math.min(looks - looked, math.floor((MOST_BYTES - bytes) / math.max(1, bytes / looked)))
  if any then step = math.min(step, wanted - matches) end
end
reply[1] = place
return reply
