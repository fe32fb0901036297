-- Hand entries back unstarted: they wake a waiting worker, and no attempt or delivery is used up.
-- KEYS  1 stream   2 returned
-- ARGV  1 group   2 consumer   then entry ids
-- Reply per entry: 1 handed back, 0 not ours: nothing to do
local group, consumer, reply = ARGV[1], ARGV[2], {}
for i = 3, #ARGV do
  local entry, moved = ARGV[i], 0
  if hold(KEYS[1], group, consumer, entry) then
    if readd(KEYS[1], entry, KEYS[2], 0) then moved = 1 end
    settle(KEYS[1], group, entry)
  end
  reply[#reply + 1] = moved
end
return reply
