-- Search a stretch of the delayed jobs for one that has no index: a foreign program's retry.
-- KEYS  1 delayed
-- ARGV  1 cursor   2 id, packed   3 how many at once
-- Reply { next cursor, its member or '', millisecond it is due or '' }
local id, found = ARGV[2], redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[3])
for i = 1, #found[2], 2 do
  local member = found[2][i]
  local a, b, c, d = string.byte(member, 1, 4)
  -- A name is short: a small fourth byte says something else.
  local start = d and 6 + a + b * 256 + c * 65536 + (d < 80 and 0 or d * 16777216)
  if start and string.sub(member, start, start + #id - 1) == id then return { '0', member, found[2][i + 1] } end
end
return { found[1], '', '' }
