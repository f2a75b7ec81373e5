--!strict
-- @std/apt: Debian packages.

local types = require("@std/types")
type Machine = types.Machine

local apt = {}

local ENV = { DEBIAN_FRONTEND = "noninteractive", DEBIAN_PRIORITY = "critical", LC_ALL = "C.UTF-8" }
-- Waits for another apt; a network that swallows everything is told as an error soon.
local PATIENCE = {
  "-o", "DPkg::Lock::Timeout=300",
  "-o", "Acquire::http::Timeout=20",
  "-o", "Acquire::https::Timeout=20",
}
-- Keeps configuration files that a charm has written.
local OPTIONS = {
  "-y", "-q",
  "-o", "Dpkg::Options::=--force-confdef",
  "-o", "Dpkg::Options::=--force-confold",
}
local LOCK_TRIES, LOCK_SECONDS = 60, 5

-- As apt and dpkg say that another one is at work.
local LOCKED = { "Could not get lock", "Unable to lock", "frontend lock", "locked by another process" }

local function with(command: { string }, options: { string }): any
  for _, option in options do
    table.insert(command, option)
  end
  return command
end

local function locked(result: types.ExecResult): boolean
  if result.code ~= 0 then
    for _, text in LOCKED do
      if string.find(result.stderr, text, 1, true) then
        return true
      end
    end
  end
  return false
end

-- The command without its options, which are always the same.
local function shown(command: { string }): string
  local words = {}
  -- The words only: a command also has fields.
  for index, word in ipairs(command) do
    if string.sub(word, 1, 1) ~= "-" and command[index - 1] ~= "-o" then
      table.insert(words, word)
    end
  end
  return table.concat(words, " ")
end

-- apt gives the reason in its first error and advice in its last.
local function reason(stderr: string): string
  local last = ""
  for line in string.gmatch(string.sub(stderr, -8000), "[^\n]+") do
    if string.sub(line, 1, 3) == "E: " then
      return string.sub(line, 4)
    end
    last = line
  end
  return last
end

-- Runs a command until nobody else holds the lock of dpkg or of the package lists.
local function unlocked(machine: Machine, command: any, check: boolean): types.ExecResult
  command.env = ENV
  command.check = false
  local result = machine:exec(command)
  for _ = 1, LOCK_TRIES do
    if not locked(result) then
      break
    end
    sleep(LOCK_SECONDS)
    result = machine:exec(command)
  end
  if check and result.code ~= 0 then
    error(`{shown(command)} failed with code {result.code}: {reason(result.stderr)}`, 3)
  end
  return result
end

-- Names of those packages that are not installed, in their order.
local function missing(machine: Machine, packages: { string }): { string }
  local command: any = { "dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", check = false, quiet = true }
  for _, name in packages do
    table.insert(command, name)
  end
  local there = {}
  for name in string.gmatch(machine:exec(command).stdout, "(%S+) installed\n") do
    there[name] = true
  end
  local found = {}
  for _, name in packages do
    -- dpkg-query leaves the architecture out.
    if not there[string.match(name, "^[^:]+") or name] then
      table.insert(found, name)
    end
  end
  return found
end

-- Whether a package is installed.
function apt.installed(machine: Machine, package: string): boolean
  return #missing(machine, { package }) == 0
end

-- Fetches the package lists.
function apt.update(machine: Machine)
  unlocked(machine, with({ "apt-get", "update", "-q" }, PATIENCE), true)
end

-- Installs what is missing of `packages`; says whether anything was. Recommended packages come along only with
-- `{ recommends = true }`. The lists that the image has are used; they are fetched anew only if that fails.
function apt.install(machine: Machine, packages: { string } | string, options: { recommends: boolean? }?): boolean
  local wanted = if type(packages) == "string" then { packages } else packages
  local names = missing(machine, wanted)
  if #names == 0 then
    return false
  end
  local function attempt(check: boolean): types.ExecResult
    local command = with(with({ "apt-get", "install" }, OPTIONS), PATIENCE)
    if not (options and options.recommends) then
      table.insert(command, "--no-install-recommends")
    end
    return unlocked(machine, with(command, names), check)
  end
  local result = attempt(false)
  if result.code ~= 0 and string.find(result.stderr, "dpkg was interrupted", 1, true) then
    unlocked(machine, { "dpkg", "--configure", "-a", "--force-confdef", "--force-confold" }, true)
    result = attempt(false)
  end
  if result.code ~= 0 then
    machine:log("info", "the installation failed; trying once more with new package lists")
    apt.update(machine)
    attempt(true)
  end
  return true
end

return apt
