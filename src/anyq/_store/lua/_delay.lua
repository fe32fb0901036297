-- Put before every script that delays jobs: whatever made it wait, a delayed job is found by its id.

-- Milliseconds for which the index outlives the due time, should nobody promote the job for so long: a week.
local INDEX_OUTLIVES = 604800000

-- Let a member of the delayed set wait until it is due; `index` is the key that finds it by the job's id.
local function delay(delayed, index, member, due, now)
  local lasts = math.min(math.max(0, due - now) + INDEX_OUTLIVES, 9e15)
  redis.call('SET', index, member, 'PX', string.format('%.0f', lasts))
  redis.call('ZADD', delayed, string.format('%.0f', due), member)
end
