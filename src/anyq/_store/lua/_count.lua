-- Put before every script that counts: what happens to a queue's jobs is counted by the step that does it, and so exactly.
-- What it needs is at the very end, and is taken away here, so that the script sees nothing but its own.
-- KEYS  last but one: counts, the totals   last: history, what they were before each minute in which something happened
-- ARGV  last: how many minutes of that are kept
local HISTORY = table.remove(KEYS)
local COUNTS = table.remove(KEYS)
local MINUTES = table.remove(ARGV)

-- Count `by` more of `what`. To be called after the script's other writes: a full server allows it then. It never fails, since
-- no job may be held up by a number: what is wrong with these keys costs the numbers, and nothing else.
local function tally(what, by)
  if by == 0 then return end
  local minute = math.floor(redis.call('TIME')[1] / 60)
  local last = redis.pcall('HGET', COUNTS, 'minute')
  if type(last) == 'table' then return end  -- of another type
  if minute > (tonumber(last) or -1) then
    -- The first in this minute; after the clock was set back, the first once it has caught up.
    local totals, before = redis.pcall('HGETALL', COUNTS), {}
    for i = 1, totals.err and 0 or #totals, 2 do
      if totals[i] ~= 'minute' then
        before[#before + 1] = totals[i]
        before[#before + 1] = totals[i + 1]
      end
    end
    if #before == 0 then before = { what, '0' } end
    redis.pcall('XADD', HISTORY, 'MAXLEN', MINUTES, string.format('%.0f-0', minute * 60000), unpack(before))
    redis.pcall('HSET', COUNTS, 'minute', minute)
  end
  redis.pcall('HINCRBY', COUNTS, what, by)
end
