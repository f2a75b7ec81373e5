--!strict
-- @std/systemd: services of the machine.

local types = require("@std/types")
type Machine = types.Machine

local systemd = {}

local function ask(machine: Machine, verb: string, unit: string): string
  local result = machine:exec { "systemctl", verb, unit, check = false, quiet = true }
  return (string.match(result.stdout, "^%s*(.-)%s*$")) or ""
end

-- The log gets the unit's last lines. Returns the last one that it wrote itself and that says something, or nil.
local function last_words(machine: Machine, unit: string): string?
  local said = machine:exec { "journalctl", "--quiet", "--no-pager", "--lines=20", "--unit", unit, check = false }
  local last
  for line in string.gmatch(said.stdout, "[^\n]+") do
    -- Nov 26 08:18:39 wiki mariadbd[40]: words
    local who, words = string.match(line, "^%S+ +%S+ %S+ %S+ ([^%s:]+): (.*)$")
    if who and not string.match(who, "^systemd%[") and not string.match(words, "[Aa]borting%.?$") then
      last = words
    end
  end
  return last
end

-- What systemctl says is where to look. Why is with the unit.
local function up(machine: Machine, verb: string, unit: string)
  if machine:exec({ "systemctl", verb, unit, check = false }).code ~= 0 then
    local words = last_words(machine, unit)
    if not words then
      local property = { "systemctl", "show", "--property=Result,ExecMainStatus", unit, check = false, quiet = true }
      local shown = machine:exec(property).stdout
      local result, status = string.match(shown, "Result=(%S+)"), string.match(shown, "ExecMainStatus=(%d+)")
      words = `{result or "no reason is told"}, status {status or "unknown"}`
    end
    error(`{unit} cannot {verb}: {words}`, 3)
  end
end

-- Whether a unit runs.
function systemd.active(machine: Machine, unit: string): boolean
  return ask(machine, "is-active", unit) == "active"
end

-- Starts a unit; says whether it did not run before. The error of one that cannot is the last that it said itself.
function systemd.start(machine: Machine, unit: string): boolean
  if systemd.active(machine, unit) then
    return false
  end
  up(machine, "start", unit)
  return true
end

-- Stops a unit; says whether it ran before.
function systemd.stop(machine: Machine, unit: string): boolean
  local state = ask(machine, "is-active", unit)
  if state ~= "active" and state ~= "activating" and state ~= "reloading" then
    return false
  end
  machine:exec { "systemctl", "stop", unit }
  return true
end

-- Restarts a unit, or starts it.
function systemd.restart(machine: Machine, unit: string): boolean
  up(machine, "restart", unit)
  return true
end

-- Makes a unit read its configuration again; restarts it if it cannot, starts it if it does not run.
function systemd.reload(machine: Machine, unit: string): boolean
  up(machine, "reload-or-restart", unit)
  return true
end

-- Has a unit start with the machine; says whether that is new.
function systemd.enable(machine: Machine, unit: string): boolean
  if ask(machine, "is-enabled", unit) == "enabled" then
    return false
  end
  machine:exec { "systemctl", "enable", unit }
  return true
end

-- Has a unit no longer start with the machine; says whether that is new.
function systemd.disable(machine: Machine, unit: string): boolean
  if ask(machine, "is-enabled", unit) ~= "enabled" then
    return false
  end
  machine:exec { "systemctl", "disable", unit }
  return true
end

-- Waits until a unit runs, at most `seconds` (default 30). An error if it fails or the time is over; the log then
-- has the unit's last lines.
function systemd.wait_active(machine: Machine, unit: string, seconds: number?)
  local limit = seconds or 30
  local waited = 0
  local state = ask(machine, "is-active", unit)
  while state ~= "active" and state ~= "failed" and waited < limit do
    sleep(0.5)
    waited += 0.5
    state = ask(machine, "is-active", unit)
  end
  if state ~= "active" then
    local words = last_words(machine, unit)
    local why = if words then ": " .. words else ""
    error(`{unit} is {if state == "" then "not known" else state} after {waited} s{why}`, 2)
  end
end

return systemd
