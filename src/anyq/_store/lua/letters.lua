-- Look through the dead letters, one stretch at a time.
-- KEYS  1 dead letters
-- ARGV  1 first id   2 last id   3 '1' for the newest first   4 matches wanted ('0': only count them)   5 letters to look at
--       6 bytes of an envelope that are given ('-1': all, and the fields of an entry that had none)
--       then per condition: field, value; a letter matches if all its fields have these values, a missing one ''; the
--       field 'job' is a condition on bytes that the head of the envelope contains
-- Reply { where to go on ('' at the end), then per match { id, bytes of its envelope, envelope or its head, fields and values } };
--       when only counting { where to go on, matches }
local FEW, MOST_BYTES = 8, 4194304  -- a bounded time in which the server serves nobody else: large letters go in small numbers
local HEAD = 280                    -- bytes of an envelope in which its id is found
local TEXT = 65536                  -- the longest text that is given; AnyQ's own are shorter
local newest, wanted, looks, given = ARGV[3] == '1', tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local reply, matches, looked, bytes = { '' }, 0, 0, 0
local step = math.min(FEW, looks)
while step > 0 do
  local rows
  if newest then
    rows = redis.call('XREVRANGE', KEYS[1], ARGV[2], ARGV[1], 'COUNT', step)
  else
    rows = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', step)
  end
  for _, row in ipairs(rows) do
    local id, flat, fields = row[1], row[2], {}
    for i = 1, #flat, 2 do
      fields[flat[i]] = flat[i + 1]
      bytes = bytes + #flat[i + 1]
    end
    looked = looked + 1
    local envelope, fits = fields.d or '', true
    for i = 7, #ARGV, 2 do
      if ARGV[i] == 'job' then
        fits = fits and string.find(string.sub(envelope, 1, HEAD), ARGV[i + 1], 1, true)
      else
        fits = fits and (fields[ARGV[i]] or '') == ARGV[i + 1]
      end
    end
    if fits then
      matches = matches + 1
      if wanted > 0 then
        local letter = { id, #envelope, given < 0 and envelope or string.sub(envelope, 1, given) }
        for i = 1, #flat, 2 do
          if flat[i] == 'fields' and given < 0 then
            letter[#letter + 1], letter[#letter + 2] = flat[i], flat[i + 1]
          elseif flat[i] ~= 'd' and flat[i] ~= 'fields' and #letter < 100 then
            local at = #letter
            letter[at + 1], letter[at + 2] = string.sub(flat[i], 1, 100), string.sub(flat[i + 1], 1, TEXT)
          end
        end
        reply[#reply + 1] = letter
      end
    end
    if newest then ARGV[2] = '(' .. id else ARGV[1] = '(' .. id end
    if wanted > 0 and matches == wanted then break end
  end
  reply[1] = newest and ARGV[2] or ARGV[1]
  if #rows < step then
    if wanted == 0 or matches < wanted then reply[1] = '' end
    break
  end
  if wanted > 0 and matches == wanted then break end
  step = math.min(looks - looked, math.floor((MOST_BYTES - bytes) / math.max(1, bytes / looked)))
end
if wanted == 0 then return { reply[1], matches } end
return reply
