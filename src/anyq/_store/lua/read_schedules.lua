-- Read what is known of schedules, all at one moment.
-- KEYS  1 schedules   2 paused   3 ended   then per schedule: its record
-- ARGV  the names of the schedules
-- Reply { the server's milliseconds, then per schedule { where ('active', 'paused', 'ended'; '' nowhere), its score, definition,
--         AnyQ's part of it, how often it fired, the last planned time that fired, how many were left out } };
--         stops after 4 MiB of definitions
local MOST_BYTES = 4194304
local PLACES = { 'active', 'paused', 'ended' }
local reply, bytes = { server_ms() }, 0
for i, name in ipairs(ARGV) do
  local place, score = '', ''
  for index = 3, 1, -1 do  -- a foreign program that plans a paused schedule anew makes it active
    local found = redis.call('ZSCORE', KEYS[index], name)
    if found then place, score = PLACES[index], found end
  end
  -- Of another type: no schedule, and no reason to leave the others unread.
  local record = redis.pcall('HMGET', KEYS[3 + i], 'spec', 'anyq', 'fired', 'last', 'left_out')
  if record.err then record = {} end
  local row = { place, score }
  for field = 1, 5 do row[2 + field] = record[field] or '' end
  reply[#reply + 1] = row
  bytes = bytes + #(record[1] or '')
  if bytes > MOST_BYTES then break end
end
return reply
