--!strict
-- Configuration files and the service that reads them, kept in step even if a hook is killed between the two.
--
-- Comparing a file with what it should be tells whether it was written, not whether its service has read it. So a mark
-- is set before the first file changes and taken away after the service has been told; a hook that finds the mark
-- tells the service again. The mark lives in /run: a restart of the machine makes every service read its files.
local applied = {}

export type File = { path: string, content: any, mode: string?, user: string?, group: string? }

local function text(value: any): string
  return if type(value) == "string" then value else value:reveal()
end

-- Writes `files` and calls `tell` if one of them changed or an earlier call did not get that far. Returns whether.
function applied.files(unit: any, name: string, files: { File }, tell: () -> ()): boolean
  local mark = `/run/encanto/{name}.changed`
  local due = unit:exists(mark)
  for _, file in files do
    if unit:read(file.path) ~= text(file.content) then
      if not due then
        unit:write(mark, "")
        due = true
      end
    end
    -- Also without a change of content: the mode may be wrong.
    unit:write(file.path, file.content, { mode = file.mode, user = file.user, group = file.group })
  end
  if due then
    tell()
    unit:remove(mark)
  end
  return due
end

return applied
