-- Write events.
-- KEYS  1 events
-- ARGV  1 how many to keep   then per event: number of fields and values, fields and values
-- Reply how many were written
local written, i = 0, 2
while i <= #ARGV do
  local size = tonumber(ARGV[i])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, i + 1, i + size))
  written, i = written + 1, i + 1 + size
end
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
return written
