-- Put before every script that acts for a producer: what took effect is remembered under the number of its batch, so that one sent
-- again after a lost reply does nothing, and has the same answer.

-- Whether this batch took effect. One below the floor was answered: these are bytes of a connection that was given up.
local function effected(sent, batch)
  local known = redis.call('ZMSCORE', sent, batch, 'floor')
  return known[1] or known[2] and tonumber(batch) < tonumber(known[2])
end

-- Remember that it did, for so many seconds, and forget those below `lowest`, the lowest number not yet answered.
local function remember(sent, batch, lowest, seconds)
  redis.call('ZADD', sent, batch, batch)
  redis.call('ZADD', sent, 'GT', lowest, 'floor')
  redis.call('ZREMRANGEBYSCORE', sent, '-inf', '(' .. lowest)
  redis.call('EXPIRE', sent, seconds)
end

-- The same for a batch of jobs of which each has an answer: remember all but the usual one, 1.
local function remember_answers(sent, batch, lowest, seconds, answers)
  for place, answer in ipairs(answers) do
    if answer ~= 1 then redis.call('ZADD', sent, batch, batch .. ':' .. place .. ':' .. answer) end
  end
  remember(sent, batch, lowest, seconds)
end

-- The answers of then, for a batch of so many jobs.
local function answers_of(sent, batch, count)
  local answers = {}
  for place = 1, count do answers[place] = 1 end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', sent, batch, batch)) do
    local place, answer = string.match(member, '^%d+:(%d+):(.*)$')
    if place then answers[tonumber(place)] = tonumber(answer) or answer end
  end
  return answers
end

