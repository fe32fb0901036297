-- Put before every script that ends a job because it was cancelled.

-- Say so to whoever waits for it, and keep it for who asks later.
local function tell(failure, channel, story, keep_ms)
  redis.call('SET', failure, story, 'PX', keep_ms)
  redis.call('PUBLISH', channel, 'cancelled')
end

-- The task's name among an entry's fields, or ''.
local function name_of(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'n' then return fields[i + 1] end
  end
  return ''
end

-- Say so in the events, if anybody keeps them: producers do not know.
local function note(events, keep, id, name)
  if redis.call('EXISTS', events) == 0 then return end
  local now = string.format('%.0f', server_ms())
  if name == '' then
    redis.call('XADD', events, 'MAXLEN', '~', keep, '*', 'e', 'cancelled', 'id', id, 'ts', now)
  else
    redis.call('XADD', events, 'MAXLEN', '~', keep, '*', 'e', 'cancelled', 'id', id, 'ts', now, 'n', name)
  end
end
