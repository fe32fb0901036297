-- Count what a queue holds, all at one moment: a job that moves meanwhile is seen in one place or the other.
-- KEYS  1 delayed   2 dead letters   then the lanes
-- Reply { ready, delayed, due, dead letters }
local time = redis.call('TIME')
local ready = 0
for lane = 3, #KEYS do ready = ready + redis.call('XLEN', KEYS[lane]) end
return {
  ready, redis.call('ZCARD', KEYS[1]),
  redis.call('ZCOUNT', KEYS[1], '-inf', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))),
  redis.call('XLEN', KEYS[2])
}
