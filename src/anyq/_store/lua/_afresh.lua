-- Put before every script that gives an id of earlier jobs to a new one.

-- A request to cancel an earlier job of this id, which it outlived, is not about the new one. Both keys begin with the queue's tag.
local function forget_request(cancels, failure)
  redis.call('ZREM', cancels, string.sub(failure, #cancels - #'cancels' + #'failure:' + 1))
end

