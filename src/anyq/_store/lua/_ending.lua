-- Put before every script that ends jobs: what a job owns ends with it, in the same step.

-- End the belongings of one job. KEYS from `key` on: the keys; ARGV from `i` on: how many, then per key: owner, milliseconds to
-- keep it ('0': none). With an owner the key is a claim, '<until>:<owner>' (or '~': a later job may replace that one): it goes if
-- it is still that owner's, yet not before `until` (epoch milliseconds). Without an owner ('') it is the job's alone.
-- Gives the next key and the next argument.
local function end_belongings(key, i)
  local last = i + 2 * tonumber(ARGV[i])
  for at = i + 1, last, 2 do
    local keep, mine = tonumber(ARGV[at + 1]), true
    if ARGV[at] ~= '' then
      local until_, owner = string.match(redis.call('GET', KEYS[key]) or '', '^(%d+)[:~](.*)$')
      mine = owner == ARGV[at]
      if mine and until_ ~= '0' then keep = math.max(keep, tonumber(until_) - now()) end
    end
    if mine and keep > 0 then
      redis.call('PEXPIRE', KEYS[key], string.format('%.0f', keep))
    elseif mine then
      redis.call('DEL', KEYS[key])
    end
    key = key + 1
  end
  return key, last + 1
end

-- The same two numbers for a job that has ended before, and nothing is changed.
local function skip_belongings(key, i)
  local count = tonumber(ARGV[i])
  return key + count, i + 2 * count + 1
end

