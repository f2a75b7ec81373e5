local software = require("@std/software")
local systemd = require("@std/systemd")

return charm {
  name = "hello",
  summary = "A page that greets",
  series = { "bookworm" },
  provides = { website = { interface = "http" } },
  config = { greeting = { type = "string", default = "Hello", description = "What the page says" } },
  prepare = function(machine)
    software.install(machine, { "nginx-light" })
  end,
  hooks = {
    ["config-changed"] = function(unit)
      unit:write("/var/www/html/index.html", `<h1>{unit.config.greeting} from {unit.name}</h1>\n`)
      systemd.start(unit, "nginx")
      unit:open_port(80)
      unit:set_status("active", "greeting")
    end,
    ["website-relation-joined"] = function(unit, relation)
      relation:set { hostname = unit.private_address, port = "80" }
    end,
  },
}
