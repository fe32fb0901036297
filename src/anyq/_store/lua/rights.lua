-- Try commands with arguments with which they do nothing, and tell which are refused to the user who runs this.
-- KEYS  1 a key that nobody uses, and that is not there afterwards
-- ARGV  per try: how many words, and the words
-- Reply per try the error, or ''
local reply, at = {}, 1
while at <= #ARGV do
  local words, count = {}, tonumber(ARGV[at])
  for i = 1, count do words[i] = ARGV[at + i] end
  local answer = redis.pcall(unpack(words))
  reply[#reply + 1] = type(answer) == 'table' and answer.err or ''
  if words[1] == 'rpush' then redis.pcall('DEL', KEYS[1]) end  -- the only one that needs no wrong argument
  at = at + count + 1
end
return reply
