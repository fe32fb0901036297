-- Acknowledge and delete entries: what XACKDEL does in one command where the server has it.
-- No owner check: a late success is still a success.
-- KEYS  1 stream
-- ARGV  1 group   then entry ids
-- Reply per entry: 1 acknowledged now, -1 not pending
local reply = {}
for i = 2, #ARGV do
  reply[i - 1] = redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 and 1 or -1
end
for i = 2, #ARGV, 1000 do
  redis.call('XDEL', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
return reply
