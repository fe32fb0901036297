-- Drop the index of jobs that are delayed no longer. One that was delayed anew meanwhile keeps its own.
-- KEYS  1 delayed   then the indices
-- Reply how many were dropped
local dropped = 0
for i = 2, #KEYS do
  local member = redis.call('GET', KEYS[i])
  if member and not redis.call('ZSCORE', KEYS[1], member) then dropped = dropped + redis.call('DEL', KEYS[i]) end
end
return dropped
