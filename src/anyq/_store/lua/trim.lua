-- Drop dead letters that are too old, and count them.
-- KEYS  1 dead letters   2 how many were ever trimmed
-- ARGV  1 milliseconds for which they are kept   2 how many to drop at most, about: a bounded time
-- Reply { dropped, 1 if there may be more }
local oldest = string.format('%.0f', math.max(0, server_ms() - tonumber(ARGV[1])))
local dropped, more = redis.call('XTRIM', KEYS[1], 'MINID', '~', oldest, 'LIMIT', ARGV[2]), 1
if dropped == 0 then
  -- No whole node of the stream is old enough (or none that fits into the limit): what is left is a part of one.
  dropped, more = redis.call('XTRIM', KEYS[1], 'MINID', '=', oldest), 0
end
if dropped > 0 then redis.call('INCRBY', KEYS[2], dropped) end
return { dropped, more }
