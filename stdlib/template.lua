--!strict
-- @std/template: texts with placeholders, as {{name}}.

local types = require("@std/types")

local template = {}

local function shown(name: string, value: any, line: number): string
  local kind = type(value)
  if kind == "string" then
    return value
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  elseif kind == "userdata" then
    return value:reveal()
  elseif value == nil then
    error(`template has no value for "{name}" (line {line})`, 4)
  end
  error(`template cannot show "{name}": it is a {kind} (line {line})`, 4)
end

-- `text` with each {{name}} replaced by the value of that name; a missing value is an error. Values are texts,
-- numbers, booleans and secrets. Anything else in braces stays as it is.
function template.string(text: string, values: { [string]: any }): string
  local line = 1
  local parts, from = {}, 1
  while true do
    local first, last, name = string.find(text, "{{%s*([%a_][%w_%-]*)%s*}}", from)
    if not first or not last then
      break
    end
    local before = string.sub(text, from, first - 1)
    line += #string.gsub(before, "[^\n]", "")
    table.insert(parts, before)
    table.insert(parts, shown(name :: any, values[name :: any], line))
    from = last + 1
  end
  table.insert(parts, string.sub(text, from))
  return table.concat(parts)
end

-- Writes the charm's file `file`, filled with `values`, to `path`; says whether that changed anything.
function template.render(
  machine: types.Machine,
  file: string,
  path: string,
  values: { [string]: any },
  options: types.WriteOptions?
): boolean
  return machine:write(path, template.string(machine:file(file), values), options)
end

return template
