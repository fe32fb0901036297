-- Group the dead letters of a stretch by what went wrong.
-- KEYS  1 dead letters
-- ARGV  1 first id   2 last id   3 letters to look at   4 groups at most   then per condition: field, value; a letter matches if all
--       its fields have these values, a missing one ''
-- Reply { where to go on ('' at the end), then per group { error, task, reason, how many, id of the first, id of the last,
--         message of the last } }
local FEW, MOST_BYTES = 8, 4194304  -- a bounded time in which the server serves nobody else: large letters go in small numbers
local NAME, TEXT = 200, 400         -- bytes of a name, and of a message, that are given
local looks, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local groups, places, looked, bytes, last = {}, {}, 0, 0, ARGV[1]
local step = math.min(FEW, looks)
while step > 0 do
  local rows = redis.call('XRANGE', KEYS[1], last, ARGV[2], 'COUNT', step)
  for _, row in ipairs(rows) do
    local id, flat, fields = row[1], row[2], {}
    for i = 1, #flat, 2 do
      fields[flat[i]] = flat[i + 1]
      bytes = bytes + #flat[i + 1]
    end
    local fits = true
    for i = 5, #ARGV, 2 do fits = fits and (fields[ARGV[i]] or '') == ARGV[i + 1] end
    if fits then
      local key, name = '', {}
      for i, field in ipairs({ 'error', 'n', 'reason' }) do
        name[i] = string.sub(fields[field] or '', 1, NAME)
        key = key .. #name[i] .. ':' .. name[i]
      end
      local group = places[key]
      if not group then
        if #groups == most then return { last, unpack(groups) } end
        group = { name[1], name[2], name[3], 0, id }
        groups[#groups + 1], places[key] = group, group
      end
      group[4], group[6] = group[4] + 1, id
      group[7] = string.sub(fields.message or fields.detail or '', 1, TEXT)
    end
    looked, last = looked + 1, '(' .. id
  end
  if #rows < step then return { '', unpack(groups) } end
  step = math.min(looks - looked, math.floor((MOST_BYTES - bytes) / math.max(1, bytes / looked)))
end
return { last, unpack(groups) }
