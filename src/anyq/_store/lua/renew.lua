-- Renew the leases of entries.
-- KEYS  1 stream
-- ARGV  1 group   2 consumer   then entry ids
-- Reply the entries that are not this consumer's any more, or whose message was deleted
-- Since Redis 7 a claim drops an entry whose message was deleted, and says so; before, only a look at the message tells,
-- which costs time with its size.
local lost, claim_tells = {}, redis.REDIS_VERSION_NUM ~= nil
for i = 3, #ARGV do
  local entry = ARGV[i]
  if owned(KEYS[1], ARGV[1], ARGV[2], entry) then
    local there = #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry, 'JUSTID') > 0
    if there and not claim_tells then
      there = #redis.call('XRANGE', KEYS[1], entry, entry, 'COUNT', 1) > 0
    end
    if not there then
      redis.call('XACK', KEYS[1], ARGV[1], entry)
      lost[#lost + 1] = entry
    end
  else
    lost[#lost + 1] = entry
  end
end
return lost
