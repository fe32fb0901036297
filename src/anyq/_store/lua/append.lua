-- Write events.
-- KEYS  1 events
-- ARGV  1 how many to keep   2 MessagePack: per event an array of fields and values
-- Reply how many were written
local batch = cmsgpack.unpack(ARGV[2])
for _, event in ipairs(batch) do redis.call('XADD', KEYS[1], '*', unpack(event)) end
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
return #batch
