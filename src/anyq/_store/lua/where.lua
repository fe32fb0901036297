-- Look what is known of a job without searching for it.
-- KEYS  1 delayed   2 its index   3 its result   4 its failure   5 cancels   6 waiting: those that wait for other jobs
-- ARGV  1 its id
-- Reply { member of delayed or '', millisecond it is due or '', 1 if it has a result, failure or '', 1 if it is to be cancelled,
--         its member if it waits for other jobs, or '' }
local member = redis.call('GET', KEYS[2])
local due = member and redis.call('ZSCORE', KEYS[1], member)
local waiting = redis.call('HGET', KEYS[6], ARGV[1])
return {
  due and member or '', due or '', redis.call('EXISTS', KEYS[3]), redis.call('GET', KEYS[4]) or '',
  redis.call('ZSCORE', KEYS[5], ARGV[1]) and 1 or 0,
  waiting and string.match(waiting, '^%d+%a(.*)$') or ''
}
