-- List jobs that wait for others, in no order, a stretch at a time. They lie in a hash, which has but one way to be read in parts.
-- KEYS  1 waiting
-- ARGV  1 cursor   2 how many behind it were seen   3 jobs wanted   4 jobs to look at   5 '1' for the payloads too
--       6 '=' and the task's name ('': any)
-- Reply { cursor ('' at the end), how many behind it were seen, then per job { cursor, how many behind it were seen,
--         bytes of its envelope, envelope (without its payload), name, fourth byte of the member, for how many it waits } }
local FEW, MOST_BYTES = 16, 2097152  -- a bounded time in which the server serves nobody else
local cursor, skip = ARGV[1], tonumber(ARGV[2])
local wanted, looks, whole, task = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6]
local reply, matches, looked, bytes = { cursor, skip }, 0, 0, 0
while looked < looks and bytes < MOST_BYTES do
  local found = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', FEW)
  for i = 2 * skip + 2, #found[2], 2 do
    local count, start = string.match(found[2][i], '^(%d+)%a()')
    local member = start and string.sub(found[2][i], start) or ''
    local name, envelope, lane = parts(member)
    looked, bytes = looked + 1, bytes + #member
    reply[2] = i / 2
    if task == '' or task == '=' .. name then
      matches = matches + 1
      reply[2 + matches] = {
        cursor, i / 2, #envelope, whole and envelope or outline(envelope), string.sub(name, 1, NAME), lane,
        tonumber(count) or 0
      }
      if matches == wanted then return reply end
    end
  end
  cursor, skip = found[1], 0
  reply[1], reply[2] = cursor, 0
  if cursor == '0' then
    reply[1] = ''
    return reply
  end
end
return reply
