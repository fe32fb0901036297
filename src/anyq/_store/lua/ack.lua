-- End finished jobs that leave nothing behind but their entries: acknowledge, delete, count.
-- No owner check: a late success is still a success.
-- KEYS  1 stream   (and those of _count.lua)
-- ARGV  1 group   then entry ids
-- Reply {} if all were pending; else per entry 1 ended now, -1 it was not in the stream any more (which of them was pending nobody
--       knows by then)
local group = table.remove(ARGV, 1)
if finish(KEYS[1], group, ARGV) then
  tally('done', #ARGV)
  return {}
end
local reply, done = {}, 0
for at = 1, #ARGV do
  local ended = redis.call('XDEL', KEYS[1], ARGV[at])
  reply[at] = ended == 1 and 1 or -1
  done = done + ended
end
tally('done', done)
return reply
