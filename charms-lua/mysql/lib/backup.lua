--!strict
-- Copies of databases in files, and back.
--
-- A file holds whole databases, without the accounts: those belong to the relations. It is there when it is complete.
local files = require("@std/files")
local mysql = require("@std/mysql")

local backup = {}

local FOLDER = "/var/backups/mysql"
local SYSTEM = { mysql = true, information_schema = true, performance_schema = true, sys = true }

-- The first argument is the file, the others are databases. What an earlier one that was cut off has left goes.
local SAVE = [[
set -o pipefail
umask 077
file="$1"; shift
rm -f -- "${file%/*}"/*.partial
mariadb-dump --single-transaction --quick --routines --triggers --events --add-drop-database --databases "$@" \
  | gzip > "$file.partial" && mv -- "$file.partial" "$file"
]]

local LOAD = [[
set -o pipefail
case "$1" in
  *.gz) gunzip --stdout -- "$1" ;;
  *) cat -- "$1" ;;
esac | mariadb
]]

local function databases(unit: any): { string }
  local found = {}
  for name in string.gmatch(mysql.run(unit, "SHOW DATABASES;"), "[^\n]+") do
    if not SYSTEM[name] then
      table.insert(found, name)
    end
  end
  return found
end

local function chosen(unit: any, wanted: string): { string }
  local found = databases(unit)
  if wanted == "" then
    if #found == 0 then
      error("there is no database to save", 0)
    end
    return found
  end
  if not table.find(found, wanted) then
    error(`there is no database "{wanted}"; there are: {table.concat(found, ", ")}`, 0)
  end
  return { wanted }
end

-- Saves one database, or all if none is named.
function backup.save(unit: any, wanted: string): { [string]: any }
  local names = chosen(unit, wanted)
  files.ensure_dir(unit, FOLDER, { mode = "0700" })
  local name = if wanted == "" then "all" else mysql.name(wanted)
  local file
  repeat
    -- A name has seconds, and is never used twice.
    if file then
      sleep(1)
    end
    file = `{FOLDER}/{name}-{os.date("!%Y%m%dT%H%M%SZ")}.sql.gz`
  until not unit:exists(file)
  unit:exec({ "bash", "-c", SAVE, "backup", file, unpack(names) })
  local info = unit:stat(file)
  if not info then
    error(`the dump has left no file {file}`, 0)
  end
  return { file = file, size = info.size, databases = table.concat(names, ", ") }
end

-- Puts back what is in a file: its databases are afterwards as they were.
function backup.load(unit: any, file: string): { [string]: any }
  if not unit.is_leader then
    error("this unit is a copy: restore on the leader, and its copies follow", 0)
  end
  local info = unit:stat(file)
  if not info or info.kind ~= "file" then
    error(`there is no file {file} on this machine`, 0)
  end
  unit:exec({ "bash", "-c", LOAD, "restore", file })
  return { file = file, databases = table.concat(databases(unit), ", ") }
end

return backup
