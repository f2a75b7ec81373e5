--!strict
local applied = require("@std/applied")
local retry = require("@std/retry")
local software = require("@std/software")
local systemd = require("@std/systemd")

local SERVICE = "prometheus-node-exporter"
local SETTINGS = "/etc/default/prometheus-node-exporter"

-- Names of collectors divided by blanks or commas; what is no name is given back as the second value.
local function collectors(text: string): ({ string }, string?)
  local names = {}
  for name in string.gmatch(text, "[^%s,]+") do
    if not string.match(name, "^[%l%d_]+$") then
      return {}, name
    end
    table.insert(names, name)
  end
  return names, nil
end

local function arguments(unit: any, more: { string }): string
  local list = { `--web.listen-address={unit.private_address}:{unit.config.port}` }
  for _, name in more do
    table.insert(list, `--collector.{name}`)
  end
  return table.concat(list, " ")
end

-- systemd calls it active before it has read its arguments: what counts is that it answers.
local function wait_answering(unit: any)
  local address, port = unit.private_address, tostring(unit.config.port)
  local answers = pcall(retry.call, 20, 0.25, function()
    unit:exec({ "bash", "-c", "exec 3<> /dev/tcp/$0/$1", address, port, quiet = true })
  end)
  if not answers then
    local said = unit:exec({ "journalctl", "--no-pager", "-o", "cat", "-n", "1", "-t", SERVICE, check = false })
    error(`the exporter does not answer on port {port}: {string.match(said.stdout, "^%s*(.-)%s*$")}`, 0)
  end
end

-- The unit that this one was made for.
local function principal(unit: any): string?
  for _, relation in unit:relations("info") do
    for _, remote in relation:units() do
      return remote
    end
  end
  return nil
end

-- An exposed service opens the port that is in use, and no other.
local function open_only(unit: any, port: number)
  if unit.state.port and unit.state.port ~= port then
    unit:close_port(unit.state.port)
  end
  unit:open_port(port)
  unit.state.port = port
end

-- Every hook comes here: what the unit should do follows from its config and relations alone.
local function settle(unit: any)
  local port = unit.config.port
  local more, wrong = collectors(unit.config.collectors)
  if wrong then
    unit:set_status("blocked", `collectors: "{wrong}" cannot be the name of a collector`)
    return
  end
  applied.files(unit, "node-exporter", {
    { path = SETTINGS, content = `ARGS="{arguments(unit, more)}"\n` },
  }, function()
    -- systemd starts no service that has failed too often, whatever has been mended since.
    unit:exec({ "systemctl", "reset-failed", SERVICE, check = false, quiet = true })
    systemd.restart(unit, SERVICE)
    wait_answering(unit)
  end)
  if systemd.start(unit, SERVICE) then
    wait_answering(unit)
  end
  open_only(unit, port)
  for _, relation in unit:relations("metrics") do
    relation:set({ hostname = unit.private_address, port = tostring(port) })
  end
  local whose = principal(unit)
  unit:set_status("active", if whose then `metrics of {whose} on port {port}` else `metrics on port {port}`)
end

return charm({
  name = "node-exporter",
  summary = "Metrics of a machine, for Prometheus",
  description = "Lives on the machines of the services that it is related to, and tells how busy they are.",
  series = { "bookworm" },
  subordinate = true,

  requires = { info = { interface = "juju-info", scope = "container" } },
  provides = { metrics = { interface = "prometheus" } },

  config = {
    port = {
      type = "int", default = 9100, min = 1024, max = 65535, description = "Where the metrics are served, over HTTP",
    },
    collectors = {
      type = "string", default = "", description = "Collectors beside the usual ones, e.g. `systemd processes`",
    },
  },

  prepare = function(machine)
    software.install(machine, { SERVICE })
    -- The package's example; without it the service rests until a unit has written its own.
    machine:remove(SETTINGS)
    software.only_with(machine, { SERVICE }, SETTINGS)
  end,

  hooks = {
    install = function(unit)
      unit:set_status("maintenance", "configuring the exporter")
    end,
    ["config-changed"] = settle,
    start = settle,

    ["info-relation-joined"] = settle,
    ["metrics-relation-joined"] = settle,

    stop = function(unit)
      systemd.stop(unit, SERVICE)
      unit:remove(SETTINGS)
    end,
  },
})
