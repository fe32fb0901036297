-- Put before every script that asks for the time: the server's, by which everybody decides the same.

-- Epoch milliseconds.
local function server_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

