-- Write down what running jobs tell: how far they are, and lines of their logs, of which the last are kept.
-- KEYS  1 stream   then per job: progress, log
-- ARGV  1 group   2 consumer   3 lines to keep   4 bytes to keep   5 milliseconds that both last, if no script ends them
--       then per job: entry id, name of this writing, progress ('': none new), number of lines, lines
-- Reply per job: 1 written (now, or by an earlier sending), 0 not ours: nothing is written in another worker's run
local reply, key, i = {}, 2, 6
while i <= #ARGV do
  local entry, writing, progress, count = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local notes, log, written = KEYS[key], KEYS[key + 1], 0
  if hold(KEYS[1], ARGV[1], ARGV[2], entry) then
    written = 1
    if redis.call('HGET', notes, 'writing') ~= writing then
      if progress ~= '' then redis.call('HSET', notes, 'progress', progress) end
      local bytes = tonumber(redis.call('HGET', notes, 'bytes') or 0)
      for line = i + 4, i + 3 + count do
        redis.call('RPUSH', log, ARGV[line])
        bytes = bytes + #ARGV[line]
      end
      local lines = redis.call('LLEN', log)
      while lines > tonumber(ARGV[3]) or lines > 1 and bytes > tonumber(ARGV[4]) do
        bytes, lines = bytes - #redis.call('LPOP', log), lines - 1
      end
      redis.call('HSET', notes, 'writing', writing, 'bytes', bytes)
      redis.call('PEXPIRE', notes, ARGV[5])
      redis.call('PEXPIRE', log, ARGV[5])
    end
  end
  reply[#reply + 1] = written
  key, i = key + 2, i + 4 + count
end
return reply
