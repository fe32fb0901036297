-- End finished jobs that leave nothing behind but their entries: acknowledge, delete, count.
-- No owner check: a late success is still a success.
-- KEYS  1 stream   (and those of _count.lua)
-- ARGV  1 group   2 '1' to use XACKDEL, which does both in one command   then entry ids
-- Reply { 1 if XACKDEL was refused, of which nothing more is to be expected, else 0;
--         then, unless all were acknowledged now: per entry 1 acknowledged now, -1 not pending }
local FEW = 1000  -- entries in one command
local reply, done, refused = { 0 }, 0, ARGV[2] ~= '1'
for i = 3, #ARGV, FEW do
  local last = math.min(i + FEW - 1, #ARGV)
  local found
  if not refused then
    -- What a server before it, or a user without the right, says to it; whatever else is wrong is said again below.
    found = redis.pcall('XACKDEL', KEYS[1], ARGV[1], 'KEEPREF', 'IDS', last - i + 1, unpack(ARGV, i, last))
    if found.err then refused, reply[1] = true, 1 end
  end
  if refused then
    found = {}
    for at = i, last do
      found[at - i + 1] = redis.call('XACK', KEYS[1], ARGV[1], ARGV[at]) == 1 and 1 or -1
    end
    redis.call('XDEL', KEYS[1], unpack(ARGV, i, last))
  end
  for at = 1, #found do
    reply[i - 2 + at] = found[at]
    if found[at] == 1 then done = done + 1 end
  end
end
tally('done', done)
if done == #ARGV - 2 then return { reply[1] } end
return reply
