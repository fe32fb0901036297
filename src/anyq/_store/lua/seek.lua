-- Search a stretch of a lane for a job. Nothing is decoded: its id, as MessagePack writes it, is the first element of its envelope.
-- KEYS  1 lane
-- ARGV  1 group   2 first entry id ('(id': without it)   3 last entry id   4 id, packed   5 how many entries at most (or 2 MiB of them)
-- Reply { where to go on, 1 at the end } or { entry id, envelope, whose it is ('': nobody's) }
local FEW, MOST_BYTES = 16, 2097152  -- a bounded time in which the server serves nobody else: large jobs are seen in small numbers
local first, id, most = ARGV[2], ARGV[4], tonumber(ARGV[5])
local seen, bytes, step = 0, 0, math.min(FEW, most)
while step > 0 do
  local found = redis.call('XRANGE', KEYS[1], first, ARGV[3], 'COUNT', step)
  for _, row in ipairs(found) do
    local entry, fields = row[1], row[2]
    for i = 1, #fields, 2 do
      local value = fields[i + 1]
      bytes = bytes + #value
      if fields[i] == 'd' and string.sub(value, 2, 1 + #id) == id then
        local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], entry, entry, 1)  -- an error: there is no group
        return { entry, value, not pending.err and pending[1] and pending[1][2] or '' }
      end
    end
    first = '(' .. entry
  end
  if #found < step then return { first, 1 } end
  seen = seen + #found
  step = math.min(most - seen, math.floor((MOST_BYTES - bytes) / math.max(1, bytes / seen)))
end
return { first, 0 }
