--!strict
-- @std/systemd: services of the machine.

local types = require("@std/types")
type Machine = types.Machine

local systemd = {}

local function ask(machine: Machine, verb: string, unit: string): string
  local result = machine:exec { "systemctl", verb, unit, check = false, quiet = true }
  return (string.match(result.stdout, "^%s*(.-)%s*$")) or ""
end

-- Whether a unit runs.
function systemd.active(machine: Machine, unit: string): boolean
  return ask(machine, "is-active", unit) == "active"
end

-- Starts a unit; says whether it did not run before.
function systemd.start(machine: Machine, unit: string): boolean
  if systemd.active(machine, unit) then
    return false
  end
  machine:exec { "systemctl", "start", unit }
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
  machine:exec { "systemctl", "restart", unit }
  return true
end

-- Makes a unit read its configuration again; restarts it if it cannot, starts it if it does not run.
function systemd.reload(machine: Machine, unit: string): boolean
  machine:exec { "systemctl", "reload-or-restart", unit }
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
    machine:exec { "journalctl", "--no-pager", "-n", "20", "-u", unit, check = false }
    error(`{unit} is {if state == "" then "not known" else state} after {waited} s`, 2)
  end
end

return systemd
