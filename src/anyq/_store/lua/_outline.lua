-- Put before every script that shows jobs: what they carry may be large, and is secret, so it stays where it is.
local HEAD, OUTLINE = 1024, 65536  -- bytes that are given of an envelope in no program's usual form; the longest outline
local NAME = 300                   -- bytes that are given of a name; longer ones no job has

-- An envelope without its payload, and still an envelope: array, id, no bytes, and whatever follows.
local function outline(envelope)
  local array, kind, size = string.byte(envelope, 1, 3)
  local at
  if kind and array >= 147 and array <= 149 then
    if kind >= 160 and kind < 192 then at = kind - 157 elseif kind == 217 and size then at = 4 + size end
  end
  if not at then return string.sub(envelope, 1, HEAD) end
  local bin, a, b, c, d = string.byte(envelope, at, at + 4)
  local rest
  if bin == 196 and a then
    rest = at + 2 + a
  elseif bin == 197 and b then
    rest = at + 3 + a * 256 + b
  elseif bin == 198 and d then
    rest = at + 5 + a * 16777216 + b * 65536 + c * 256 + d
  end
  if not rest or at + #envelope - rest > OUTLINE then return string.sub(envelope, 1, HEAD) end
  return string.sub(envelope, 1, at - 1) .. '\196\0' .. string.sub(envelope, rest)
end

-- Name and envelope of a member of the delayed set, and the fourth byte of the name's length; nothing where it is no job.
local function parts(member)
  local a, b, c, d = string.byte(member, 1, 4)
  if not d then return '', '', 0 end
  local size = a + b * 256 + c * 65536
  return string.sub(member, 5, 4 + size), string.sub(member, 5 + size), d
end

