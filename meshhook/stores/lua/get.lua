-- Replies: record.

local found = load()
if found.garbage then
  return garbage()
end
return show('record', found)
