--!strict
local applied = require("@std/applied")
local software = require("@std/software")
local systemd = require("@std/systemd")
local template = require("@std/template")

local SETTINGS = "/etc/memcached.conf"
local ACCESS = "/etc/memcached.nft"
local PORT = 11211

-- Addresses of the units that may use the cache.
local function clients(unit: any): { string }
  local found, seen = {}, {}
  for _, relation in unit:relations("cache") do
    for _, remote in relation:units() do
      local address = relation:get("private-address", remote)
      if address and string.match(address, "^%d+%.%d+%.%d+%.%d+$") and not seen[address] then
        seen[address] = true
        table.insert(found, address)
      end
    end
  end
  table.sort(found)
  return found
end

local function report(unit: any, list: { string })
  local text = if #list == 0 then "no clients" elseif #list == 1 then "1 client" else `{#list} clients`
  unit:set_status("active", `ready, {text}`)
end

-- Every hook comes here: what the unit should do follows from its config and relations alone.
local function settle(unit: any)
  local config, list = unit.config, clients(unit)
  -- Another client is let in or out without touching the others; a new option costs what is cached.
  local allowed = if #list == 0 then "" else `\t\tip saddr \{ {table.concat(list, ", ")} } accept\n`
  applied.files(unit, "memcached-access", {
    { path = ACCESS, content = template.string(unit:file("templates/access.nft"), { clients = allowed }) },
  }, function()
    unit:exec({ "nft", "-f", ACCESS, quiet = true })
  end)
  applied.files(unit, "memcached", {
    {
      path = SETTINGS,
      content = template.string(unit:file("templates/memcached.conf"), {
        address = unit.private_address,
        memory = config.memory,
        connections = config.connections,
        item_size = config["max-item-size"],
      }),
    },
  }, function()
    if systemd.active(unit, "memcached") then
      systemd.restart(unit, "memcached")
    end
  end)
  if systemd.start(unit, "memcached") then
    systemd.wait_active(unit, "memcached")
  end
  for _, relation in unit:relations("cache") do
    relation:set({ host = unit.private_address, port = tostring(PORT) })
  end
  report(unit, list)
end

return charm({
  name = "memcached",
  summary = "A cache in memory, shared over the network",
  description = "Keeps small pieces of data for related services, and for nobody else.",
  series = { "bookworm" },

  provides = { cache = { interface = "memcache" } },

  config = {
    memory = {
      type = "int", default = 64, min = 8, max = 1048576, description = "MiB for what is cached",
    },
    connections = {
      type = "int", default = 1024, min = 16, max = 65536, description = "Clients that may be connected at once",
    },
    ["max-item-size"] = {
      type = "string", default = "1m", choices = { "512k", "1m", "2m", "4m" }, description = "Largest piece of data",
    },
  },

  prepare = function(machine)
    software.install(machine, { "memcached", "nftables" })
    -- The package's example; without it the service rests until a unit has written its own.
    machine:remove(SETTINGS)
    software.only_with(machine, { "memcached" }, SETTINGS)
    machine:write("/etc/systemd/system/memcached.service.d/access.conf", machine:file("templates/access.conf"))
    machine:exec({ "systemctl", "daemon-reload" })
  end,

  hooks = {
    install = function(unit)
      unit:set_status("maintenance", "configuring memcached")
    end,
    ["config-changed"] = settle,
    start = settle,

    ["cache-relation-joined"] = settle,
    ["cache-relation-changed"] = settle,
    ["cache-relation-departed"] = settle,
    ["cache-relation-broken"] = settle,

    stop = function(unit)
      systemd.stop(unit, "memcached")
      unit:remove(SETTINGS)
    end,
  },
})
