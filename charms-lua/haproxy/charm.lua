--!strict
local applied = require("@std/applied")
local software = require("@std/software")
local systemd = require("@std/systemd")
local template = require("@std/template")
local website = require("@std/website")

local SETTINGS = "/etc/haproxy/haproxy.cfg"
local CANDIDATE = "/etc/haproxy/candidate.cfg"
local UNAVAILABLE = "/etc/haproxy/errors/encanto-503.http"
local SOCKET = "UNIX-CONNECT:/run/haproxy/admin.sock"
local HEALTH = "/var/lib/haproxy/servers"
local PORT, STATS_PORT = 80, 8404

-- What `haproxy -c` would not find, or would find only where nobody looks, is refused before it is written.
local function refuse(option: string, reason: string)
  error({ refused = `option {option}: {reason}` })
end

-- A word of haproxy's configuration: within single quotes nothing has a meaning.
local function quote(option: string, text: string): string
  if string.find(text, "%c") then
    refuse(option, "has a line break or another control character")
  end
  return "'" .. string.gsub(text, "'", "'\\''") .. "'"
end

type Server = { name: string, address: string }
type Backend = { name: string, servers: { Server } }

-- One backend for each related service, in the order in which they were related.
local function backends(unit: any): { Backend }
  local found: { Backend } = {}
  for _, relation in unit:relations("reverseproxy") do
    local servers = {}
    for _, remote in relation:units() do
      local host, port = relation:get("hostname", remote), relation:get("port", remote) or "80"
      if host and string.match(host, "^[%w%.%-]+$") and string.match(port, "^%d+$") then
        table.insert(servers, { name = (string.gsub(remote, "/", "-")), address = `{host}:{port}` })
      elseif host and host ~= "" then
        unit:log("warning", `{remote} names itself "{host}:{port}", which is no address; it is left out`)
      end
    end
    -- The relation that a broken hook is about is listed still, with nobody in it.
    if unit.hook ~= "reverseproxy-relation-broken" or #relation:units() > 0 then
      table.insert(found, { name = relation.service, servers = servers })
    end
  end
  return found
end

local function render_backend(unit: any, backend: Backend): string
  local config = unit.config
  local path = config["health-check-path"]
  if not string.match(path, "^/[!-~]*$") then
    refuse("health-check-path", "is no path: it begins with / and has no spaces")
  end
  local lines = {
    `\nbackend {backend.name}`,
    `\tbalance {config.algorithm}`,
    "\toption httpchk",
    `\thttp-check send meth GET uri {quote("health-check-path", path)} ver HTTP/1.1 hdr Host localhost`,
    "\thttp-check expect status 200-399",
    -- A server that refuses a connection is out at once, before the next check.
    `\tdefault-server check inter {config["health-check-interval"]}s fastinter 500ms fall 2 rise 2`
      .. " observe layer4 error-limit 1 on-error mark-down",
  }
  if config["sticky-sessions"] then
    table.insert(lines, "\tcookie ENCANTO_SERVER insert indirect nocache httponly")
  end
  for line in string.gmatch(config["backend-options"], "[^\n]+") do
    table.insert(lines, "\t" .. line)
  end
  for _, server in backend.servers do
    local cookie = if config["sticky-sessions"] then ` cookie {server.name}` else ""
    table.insert(lines, `\tserver {server.name} {server.address}{cookie}`)
  end
  return table.concat(lines, "\n") .. "\n"
end

-- Which backend is asked: by the host's name if option `hosts` has it, else the service related first.
local function routes(unit: any, list: { Backend }): string
  local there = {}
  for _, backend in list do
    there[backend.name] = true
  end
  local lines = {}
  for word in string.gmatch(unit.config.hosts, "%S+") do
    local host, service = string.match(word, "^([%w%.%-]+)=([%w%-]+)$")
    if not host or not service then
      refuse("hosts", `"{word}" is not of the form host=service`)
    end
    local backend = if there[service :: any] then service else "haproxy.none"
    table.insert(lines, `\tuse_backend {backend} if \{ req.hdr(host),field(1,:) -i {host} }`)
  end
  table.insert(lines, `\tdefault_backend {if list[1] then list[1].name else "haproxy.none"}\n`)
  return table.concat(lines, "\n")
end

local function stats(unit: any): string
  local config = unit.config
  if not config.stats then
    return ""
  end
  local user, password = config["stats-user"], config["stats-password"]
  return table.concat({
    "\nuserlist haproxy.stats",
    `\tuser {quote("stats-user", user)} insecure-password {quote("stats-password", password)}`,
    "\nfrontend haproxy.stats",
    `\tbind :{STATS_PORT}`,
    "\thttp-request auth realm statistics unless { http_auth(haproxy.stats) }",
    "\thttp-request use-service prometheus-exporter if { path /metrics }",
    "\tstats enable",
    "\tstats uri /",
    "\tstats refresh 10s\n",
  }, "\n")
end

local function settings(unit: any, list: { Backend }): string
  local parts = {}
  for _, backend in list do
    table.insert(parts, render_backend(unit, backend))
  end
  return template.string(unit:file("templates/haproxy.cfg"), {
    timeout = unit.config.timeout,
    routes = routes(unit, list),
    backends = table.concat(parts),
    stats = stats(unit),
  })
end

-- Why haproxy would not take this configuration; nil if it would.
local function fault(unit: any, text: string): string?
  unit:write(CANDIDATE, text, { mode = "0640" })
  local checked = unit:exec({ "haproxy", "-c", "-f", CANDIDATE, check = false, quiet = true })
  unit:remove(CANDIDATE)
  if checked.code == 0 then
    return nil
  end
  for line in string.gmatch(checked.stderr, "[^\n]+") do
    local reason = string.match(line, "^%[ALERT%].-config : (.+)")
    if reason then
      -- Without the place in a file that is gone, and without haproxy's list of all that it knows.
      reason = string.gsub(reason, "^parsing %[.-:%d+%] ?: ", "")
      return if #reason > 160 then string.sub(reason, 1, 159) .. "…" else reason
    end
  end
  return `haproxy -c ended with code {checked.code}`
end

local function ask(unit: any, command: string): string
  local answer = unit:exec({ "socat", "-t5", "-", SOCKET, stdin = command .. "\n", check = false, quiet = true })
  return if answer.code == 0 then answer.stdout else ""
end

-- Every server that haproxy has, and whether it is up; nil while it has not been checked for the first time.
local function health(unit: any): { [string]: boolean? }
  local column, found = {}, {}
  for line in string.gmatch(ask(unit, "show stat -1 4 -1"), "[^\n]+") do
    local values = string.split(string.gsub(line, "^# ", ""), ",")
    if next(column) == nil then
      for index, name in values do
        column[name] = index
      end
    elseif column.svname and values[column.check_status] ~= "INI" then
      found[`{values[column.pxname]}/{values[column.svname]}`] = string.find(values[column.status], "^UP") ~= nil
    end
  end
  return found
end

local function apply(unit: any, text: string): boolean
  return applied.files(unit, "haproxy", {
    { path = SETTINGS, content = text, mode = "0640" },
  }, function()
    if systemd.active(unit, "haproxy") then
      local known = ask(unit, "show servers state")
      if known ~= "" then
        unit:write(HEALTH, known)
      end
      systemd.reload(unit, "haproxy")
    end
  end)
end

-- How many servers are up. Those that are new get the time of a first check.
local function count(unit: any, list: { Backend }, patient: boolean): (number, { string })
  local waited, limit = 0, unit.config["health-check-interval"] + 6
  while true do
    local known = health(unit)
    local up, down, pending = 0, {}, 0
    for _, backend in list do
      for _, server in backend.servers do
        local state = known[`{backend.name}/{server.name}`]
        if state then
          up += 1
        else
          table.insert(down, server.name)
          pending += if state == nil then 1 else 0
        end
      end
    end
    if not patient or pending == 0 or waited >= limit then
      return up, down
    end
    sleep(0.5)
    waited += 0.5
  end
end

local function report(unit: any, list: { Backend }, patient: boolean)
  if #list == 0 then
    unit:set_status("blocked", `answers 503: needs a website: add-relation {unit.service} mediawiki`)
    return
  end
  local total = 0
  for _, backend in list do
    total += #backend.servers
  end
  if total == 0 then
    unit:set_status("waiting", `answers 503: waiting for a server of {list[1].name}`)
    return
  end
  local up, down = count(unit, list, patient)
  local text = `{up} of {total} {if total == 1 then "server" else "servers"} up`
  if #down > 0 then
    text ..= `; down: {table.concat(down, ", ")}`
  end
  unit:set_status(if up > 0 then "active" else "waiting", if up > 0 then text else "answers 503: " .. text)
end

-- Every hook comes here: what the unit should do follows from its config and relations alone.
local function settle(unit: any)
  local list = backends(unit)
  local ok, text = pcall(settings, unit, list)
  local reason: string? = nil
  if not ok then
    if type(text) ~= "table" then
      error(text, 0)
    end
    reason = (text :: any).refused
  elseif unit:read(SETTINGS) ~= text then
    reason = fault(unit, text :: any)
  end
  if reason then
    -- No error: the unit goes on with what it has, and the next `set` mends it.
    unit:log("error", `haproxy's configuration is refused: {reason}`)
    local rest = if unit:exists(SETTINGS) then "the one before stays" else "nothing is served"
    unit:set_status("blocked", `configuration refused, {rest}: {reason}`)
    return
  end
  local changed = apply(unit, text :: any)
  local started = systemd.start(unit, "haproxy")
  unit:open_port(PORT)
  website.announce(unit, "website", PORT)
  unit.state.serving = true
  report(unit, list, changed or started)
end

return charm({
  name = "haproxy",
  summary = "The load balancer for HTTP",
  description = "Spreads requests over all units of related websites, and leaves out those that fail.",
  series = { "bookworm" },

  requires = { reverseproxy = { interface = "http" } },
  provides = { website = { interface = "http" } },
  peers = { peer = { interface = "haproxy-peer" } },

  config = {
    algorithm = {
      type = "string", default = "roundrobin",
      choices = { "roundrobin", "static-rr", "leastconn", "first", "source", "uri", "random" },
      description = "How the server for a request is chosen",
    },
    ["health-check-path"] = {
      type = "string", default = "/", description = "What a server is asked for; it is up if it answers with 2xx or 3xx",
    },
    ["health-check-interval"] = {
      type = "int", default = 2, min = 1, max = 3600, description = "Seconds between two checks of a server",
    },
    ["sticky-sessions"] = {
      type = "boolean", default = false,
      description = "Whether a cookie keeps a browser at the server that it came to first",
    },
    timeout = {
      type = "int", default = 60, min = 1, max = 86400,
      description = "Seconds after which a client or a server that says nothing is given up",
    },
    hosts = {
      type = "string", default = "",
      description = "Which service answers for which name, e.g. \"wiki.example.org=mediawiki blog.example.org=wordpress\"; "
        .. "all other names go to the service related first",
    },
    ["backend-options"] = {
      type = "string", default = "", description = "Further lines for every backend, as haproxy's manual has them",
    },
    stats = { type = "boolean", default = false, description = "Whether port 8404 shows the statistics page and /metrics" },
    ["stats-user"] = { type = "string", default = "admin", description = "Who may see the statistics" },
    ["stats-password"] = {
      type = "string", secret = true, generate = 20, description = "Password for the statistics",
    },
  },

  prepare = function(machine)
    software.install(machine, { "haproxy", "socat" })
    -- The package's example; without it the service rests until a unit has written its own.
    machine:remove(SETTINGS)
    software.only_with(machine, { "haproxy" }, SETTINGS)
    local page = string.gsub(machine:file("templates/503.http"), "\n", "\r\n")
    machine:write(UNAVAILABLE, page)
  end,

  hooks = {
    install = function(unit)
      unit:set_status("maintenance", "configuring the balancer")
    end,
    ["config-changed"] = settle,
    start = settle,
    -- So that the status is of now, not of the last change.
    ["update-status"] = settle,

    ["reverseproxy-relation-joined"] = settle,
    ["reverseproxy-relation-changed"] = settle,
    ["reverseproxy-relation-departed"] = settle,
    ["reverseproxy-relation-broken"] = settle,

    ["website-relation-joined"] = function(unit, relation)
      if unit.state.serving then
        relation:set({ hostname = unit.private_address, port = tostring(PORT) })
      end
    end,

    stop = function(unit)
      systemd.stop(unit, "haproxy")
      unit:remove(SETTINGS)
    end,
  },
})
