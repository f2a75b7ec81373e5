--!strict
-- Values of Lua as source text of PHP.
local php = {}

-- A string in single quotes, in which PHP expands nothing.
function php.quote(value: any): string
  local text = if type(value) == "string" then value else value:reveal()
  return "'" .. string.gsub(text, "[\\']", "\\%0") .. "'"
end

function php.bool(value: any): string
  return if value then "true" else "false"
end

return php
