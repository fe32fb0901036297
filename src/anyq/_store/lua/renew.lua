-- Renew the leases of entries.
-- KEYS  1 stream
-- ARGV  1 group   2 consumer   then entry ids
-- Reply the entries that are not this consumer's any more, or whose message was deleted
local lost = {}
for i = 3, #ARGV do
  local entry = ARGV[i]
  if owned(KEYS[1], ARGV[1], ARGV[2], entry) then
    if #redis.call('XRANGE', KEYS[1], entry, entry, 'COUNT', 1) == 0 then
      redis.call('XACK', KEYS[1], ARGV[1], entry)
      lost[#lost + 1] = entry
    else
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry, 'JUSTID')
    end
  else
    lost[#lost + 1] = entry
  end
end
return lost
