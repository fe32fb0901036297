-- End finished jobs that leave nothing behind but their entries: acknowledge, delete, count.
-- No owner check: a late success is still a success.
-- KEYS  1 stream   (and those of _count.lua)
-- ARGV  1 group   2 entry ids, as one list in MessagePack: to both sides hundreds of words cost more than all else here
-- Reply {} if all were pending; else per entry 1 ended now, -1 it was not in the stream any more (which of them was pending nobody
--       knows by then)
local group, entries = ARGV[1], cmsgpack.unpack(ARGV[2])
if finish(KEYS[1], group, entries) then
  tally('done', #entries)
  return {}
end
local reply, done = {}, 0
for at, entry in ipairs(entries) do
  local ended = redis.call('XDEL', KEYS[1], entry)
  reply[at] = ended == 1 and 1 or -1
  done = done + ended
end
tally('done', done)
return reply
