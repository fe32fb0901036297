-- Put before every script that settles entries: only the consumer that owns an entry may change it.

-- The owner's delivery count of an entry, or false: it is somebody else's by now, or settled.
local function owned(stream, group, consumer, entry)
  local pending = redis.call('XPENDING', stream, group, entry, entry, 1)[1]
  return pending and pending[2] == consumer and pending[4]
end

-- Like owned, and a write that a full server (maxmemory) still allows: once a script has written, the server refuses none of
-- its later writes, so a job can be moved, never half moved, however full the server is.
local function hold(stream, group, consumer, entry)
  local count = owned(stream, group, consumer, entry)
  if count then redis.call('XCLAIM', stream, group, consumer, 0, entry, 'JUSTID') end
  return count
end

-- Add first, delete last: scripts do not roll back.
local function settle(stream, group, entry)
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end

local DEFAULT_PRIORITY = 5

-- With it lies a job that was set aside, for the lane that it belongs to.
local PRIORITY_FIELD = 'priority'

-- Put an entry's copy into another stream with `lost` more deliveries lost. Gives its bytes; false if its message was deleted.
local function readd(stream, entry, target, lost, priority)
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  if not found then return false end
  local fields, copy, bytes = found[2], {}, 0
  for i = 1, math.min(#fields, 7000), 2 do
    bytes = bytes + #fields[i + 1]
    if fields[i] == 'l' then
      lost = lost + (tonumber(fields[i + 1]) or 0)
    elseif fields[i] ~= PRIORITY_FIELD then
      copy[#copy + 1] = fields[i]
      copy[#copy + 1] = fields[i + 1]
    end
  end
  if lost > 0 or #copy == 0 then
    copy[#copy + 1] = 'l'
    copy[#copy + 1] = string.format('%.0f', lost)
  end
  if priority and tonumber(priority) ~= DEFAULT_PRIORITY then
    copy[#copy + 1] = PRIORITY_FIELD
    copy[#copy + 1] = priority
  end
  redis.call('XADD', target, '*', unpack(copy))
  return bytes
end
