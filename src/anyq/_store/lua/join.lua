-- Make sure that lanes have their group, from the first entry on, and that a consumer is in that of the first lane.
-- KEYS  the lanes
-- ARGV  1 group   2 consumer ('': none)
for lane = 1, #KEYS do
  redis.call('XDEL', KEYS[lane], '0-0')  -- a write that changes nothing and that a full server allows: what follows is not refused
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[lane], ARGV[1], '0', 'MKSTREAM')
  if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
end
if ARGV[2] ~= '' then redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return redis.status_reply('OK')
