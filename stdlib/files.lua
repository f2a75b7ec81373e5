--!strict
-- @std/files: directories, links and single lines of files. Every function says whether it changed something.

local types = require("@std/types")
type Machine = types.Machine

local files = {}

-- Makes a directory and those above it, with this mode and owner.
function files.ensure_dir(machine: Machine, path: string, options: types.WriteOptions?): boolean
  local wanted: any = options or {}
  local info = machine:stat(path)
  if info and info.kind ~= "directory" then
    error(`{path} is a {info.kind}, not a directory`, 2)
  end
  local changed = false
  if not info then
    machine:exec { "mkdir", "-p", path, quiet = true }
    changed = true
  end
  if wanted.mode and (changed or (info :: any).mode ~= wanted.mode) then
    machine:exec { "chmod", wanted.mode, path, quiet = true }
    changed = true
  end
  if wanted.user or wanted.group then
    local owner = `{wanted.user or ""}{if wanted.group then ":" .. wanted.group else ""}`
    local result = machine:exec { "chown", "-c", owner, path, quiet = true }
    changed = changed or result.stdout ~= ""
  end
  return changed
end

-- Makes `path` a symbolic link to `target`, in place of whatever file was there.
function files.symlink(machine: Machine, target: string, path: string): boolean
  local result = machine:exec { "readlink", path, check = false, quiet = true }
  if result.code == 0 and string.gsub(result.stdout, "\n$", "") == target then
    return false
  end
  machine:exec { "ln", "-sfn", target, path, quiet = true }
  return true
end

local function lines_of(text: string): { string }
  if text == "" then
    return {}
  end
  local lines = string.split(text, "\n")
  if lines[#lines] == "" then
    table.remove(lines)
  end
  return lines
end

-- Sees to it that `line` is in the file. With `prefix` it takes the place of the first line that begins so, and
-- others that do are removed. A missing file is made.
function files.line_in_file(machine: Machine, path: string, line: string, prefix: string?): boolean
  local found = false
  local lines = {}
  for _, old in lines_of(machine:read(path) or "") do
    local fits = old == line or (prefix ~= nil and string.sub(old, 1, #prefix) == prefix)
    if not fits then
      table.insert(lines, old)
    elseif not found then
      table.insert(lines, line)
      found = true
    elseif prefix == nil then
      table.insert(lines, old)
    end
  end
  if not found then
    table.insert(lines, line)
  end
  return machine:write(path, table.concat(lines, "\n") .. "\n")
end

-- Removes every line that is `line`; a missing file has none.
function files.remove_line(machine: Machine, path: string, line: string): boolean
  local text = machine:read(path)
  if text == nil then
    return false
  end
  local lines, removed = {}, false
  for _, old in lines_of(text) do
    if old == line then
      removed = true
    else
      table.insert(lines, old)
    end
  end
  if not removed then
    return false
  end
  return machine:write(path, if #lines == 0 then "" else table.concat(lines, "\n") .. "\n")
end

-- Replaces every `old` in the file by `new`; both are plain texts. If the file has neither, that is an error.
function files.replace(machine: Machine, path: string, old: string, new: string): boolean
  local text = machine:read(path)
  if text == nil then
    error(`{path} does not exist`, 2)
  end
  local parts, from = {}, 1
  -- Where `new` holds `old`, a second run must not replace again.
  if new ~= "" and string.find(new, old, 1, true) and string.find(text, new, 1, true) then
    return false
  end
  while true do
    local first, last = string.find(text, old, from, true)
    if not first or not last or old == "" then
      break
    end
    table.insert(parts, string.sub(text, from, first - 1))
    from = last + 1
  end
  if #parts == 0 then
    if new ~= "" and not string.find(text, new, 1, true) then
      error(`{path} has neither the old nor the new text`, 2)
    end
    return false
  end
  table.insert(parts, string.sub(text, from))
  return machine:write(path, table.concat(parts, new))
end

return files
