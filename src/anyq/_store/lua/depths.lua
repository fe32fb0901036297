-- Count what a queue holds, all at one moment: a job that moves meanwhile is seen in one place or the other.
-- KEYS  1 delayed   2 dead letters   3 pauses   4 waiting   then the lanes
-- ARGV  1 group
-- Reply { ready, delayed, due, dead letters, held, set aside, 1 if the queue is paused, until which millisecond (0: until it is
--         resumed), { paused task, until which millisecond (as a string), ... },
--         waiting for others }
local now = server_ms()
local ready, held, aside, paused = 0, 0, 0, 0
for lane = 5, #KEYS do
  ready = ready + redis.call('XLEN', KEYS[lane])
  local pending = redis.pcall('XPENDING', KEYS[lane], ARGV[1])  -- refused where no worker ever was
  held = held + (not pending.err and pending[1] or 0)
end
local fields, pauses = redis.call('HGETALL', KEYS[3]), {}
for i = 1, #fields, 2 do pauses[fields[i]] = tonumber(fields[i + 1]) end
local function lasts(ends) return ends and (ends == 0 or ends > now) end
if lasts(pauses['queue']) then paused = 1 end
local tasks = {}
for field, number in pairs(pauses) do
  local task = string.match(field, '^aside:(.*)$')
  if task and lasts(pauses['task:' .. task]) then
    aside = aside + number
  elseif task then
    ready = ready + number  -- on its way back
  end
  local name = string.match(field, '^task:(.*)$')
  if name and lasts(number) then
    tasks[#tasks + 1] = name
    tasks[#tasks + 1] = string.format('%.0f', number)
  end
end
return {
  ready, redis.call('ZCARD', KEYS[1]), redis.call('ZCOUNT', KEYS[1], '-inf', string.format('%.0f', now)),
  redis.call('XLEN', KEYS[2]), held, aside, paused,
  paused == 1 and pauses['queue'] or 0, tasks, redis.call('HLEN', KEYS[4])
}
