//! The charms of the stories. Every hook that they declare runs `hook <unit> <hook>` in its machine.

/// The charms of the stories.
pub fn source(charm: &str) -> String {
    let common = r#"
local function step(unit, relation)
  unit:exec{ "hook", unit.name, unit.hook }
end
"#;
    let body = match charm {
        "db" => {
            r#"return charm { name = "db", summary = "s", series = { "bookworm" },
  provides = { db = { interface = "sql" } }, peers = { cluster = { interface = "sql-cluster" } },
  config = { size = { type = "int", default = 1, min = 1 } },
  hooks = { install = step, start = function(unit) step(unit) unit:set_status("active", "ready") end,
    ["config-changed"] = step, stop = step,
    ["db-relation-created"] = step,
    ["db-relation-joined"] = function(unit, relation) step(unit) relation:set{ password = secret("pw-" .. relation.remote) } end,
    ["db-relation-changed"] = step, ["db-relation-departed"] = step, ["db-relation-broken"] = step } }"#
        }
        "app" | "app-next" => {
            r#"return charm { name = "app", summary = "s", series = { "bookworm" },
  requires = { db = { interface = "sql" } }, provides = { website = { interface = "http" } },
  hooks = { install = step, ["config-changed"] = step,
    start = function(unit) step(unit) unit:set_status("waiting", "no database") unit:open_port(80) end,
    stop = step,
    ["db-relation-joined"] = step,
    ["db-relation-changed"] = function(unit, relation) step(unit)
      if relation:get("password") then unit:set_status("active", "serving") end end,
    ["db-relation-departed"] = step,
    ["db-relation-broken"] = function(unit) step(unit) unit:set_status("waiting", "no database") end } }"#
        }
        "prepared" => {
            r#"return charm { name = "prepared", summary = "s", series = { "bookworm" },
  prepare = function(machine) machine:exec{ "hook", "build", "prepare" } machine:write("/opt/software", "1") end,
  hooks = { install = step, start = function(unit) step(unit)
    unit:set_status("active", unit:read("/opt/software") or "no software") end } }"#
        }
        "db-next" => {
            r#"return charm { name = "db", summary = "s", series = { "bookworm" },
  provides = { db = { interface = "sql" } },
  peers = { cluster = { interface = "sql-cluster" }, backup = { interface = "sql-backup" } },
  config = { size = { type = "int", default = 1, min = 1, max = 5 }, colour = { type = "string", default = "red" } },
  hooks = { install = step, ["upgrade-charm"] = step, start = step,
    ["config-changed"] = function(unit) step(unit) unit:set_status("active", "next " .. unit.config.colour) end,
    ["db-relation-joined"] = step } }"#
        }
        "pulse" => {
            r#"return charm { name = "pulse", summary = "s", series = { "bookworm" },
  hooks = { ["leader-elected"] = function(unit) step(unit) unit.state.leader = true end,
    start = function(unit) unit:set_status("active", unit.state.leader and "leads" or "follows") end,
    ["update-status"] = function(unit) step(unit)
      if not unit.state.seen then unit.state.seen = true unit:open_port(1234) end end } }"#
        }
        // Declares every hook there is, tells its relations and its peers a colour, and lets its leader set the tune.
        "node" => {
            r#"
local function told(unit, relation) step(unit)
  relation:set{ colour = unit.config.colour }
  if unit.is_leader and relation.endpoint == "up" then unit:leader_set{ served = relation.remote } end
end
local hooks = { install = step, stop = step, ["upgrade-charm"] = step, ["leader-elected"] = step,
  ["leader-settings-changed"] = function(unit) step(unit) unit:set_status("active", unit:leader_get("tune") or "no tune") end,
  start = function(unit) step(unit) unit:set_status("active", unit:leader_get("tune") or "no tune") end,
  ["config-changed"] = function(unit) step(unit)
    if unit.is_leader then unit:leader_set{ tune = unit.config.tune } end
    for _, endpoint in { "up", "down", "ring" } do
      for _, relation in unit:relations(endpoint) do relation:set{ colour = unit.config.colour } end
    end end }
for _, endpoint in { "up", "down", "ring" } do
  for _, kind in { "created", "changed", "departed", "broken" } do hooks[`{endpoint}-relation-{kind}`] = step end
  hooks[endpoint .. "-relation-joined"] = told
end
return charm { name = "node", summary = "s", series = { "bookworm" },
  provides = { up = { interface = "link" } }, requires = { down = { interface = "link" } },
  peers = { ring = { interface = "ring" } },
  config = { colour = { type = "string", default = "red" }, tune = { type = "string", default = "", secret = true } },
  hooks = hooks }"#
        }
        // Each unit writes as if it led.
        "usurper" => {
            r#"return charm { name = "usurper", summary = "s", series = { "bookworm" },
  hooks = { start = function(unit) unit:leader_set{ by = unit.name } unit:set_status("active", unit:leader_get().by) end } }"#
        }
        "moody" => {
            r#"return charm { name = "moody", summary = "s", series = { "bookworm" },
  hooks = { start = function(unit) unit:open_port(80) error("not today") end } }"#
        }
        "db-led" => {
            r#"return charm { name = "db", summary = "s", series = { "bookworm" },
  provides = { db = { interface = "sql" } }, peers = { cluster = { interface = "sql-cluster" } },
  config = { size = { type = "int", default = 1, min = 1 } },
  hooks = { start = step, ["leader-settings-changed"] = step, ["config-changed"] = function(unit)
    if unit.is_leader and unit.config.size > 1 then unit:leader_set{ size = unit.config.size } end end } }"#
        }
        "tool" => {
            r#"return charm { name = "tool", summary = "s", series = { "bookworm" },
  provides = { website = { interface = "http" } }, config = { key = { type = "string", secret = true, default = "sesame-7" } },
  hooks = { install = step, ["config-changed"] = step, stop = step,
    start = function(unit) step(unit) unit:set_status("active", "ready") end },
  actions = {
    backup = { description = "Saves",
      params = { file = { type = "string", required = true }, keep = { type = "int", default = 3, min = 1 },
        password = { type = "string", secret = true } },
      run = function(unit, params)
        step(unit)
        unit.state.count = (unit.state.count or 0) + 1
        unit:open_port(99)
        for _, relation in unit:relations("website") do relation:set{ saved = params.file } end
        return { file = params.file, keep = params.keep, count = unit.state.count,
          deep = { key = unit.config.key, text = `with {params.password or "none"}` } }
      end },
    broken = { run = function(unit) unit.state.count = 100 unit:open_port(100) unit:exec{ "hook", unit.name, "step" }
      error("no such table: " .. unit.config.key) end },
  } }"#
        }
        "tool-next" => {
            r#"return charm { name = "tool", summary = "s", series = { "bookworm" },
  provides = { website = { interface = "http" } }, hooks = { ["upgrade-charm"] = step } }"#
        }
        "log" => {
            r#"return charm { name = "log", summary = "s", series = { "bookworm" }, subordinate = true,
  requires = { info = { interface = "juju-info", scope = "container" },
    directory = { interface = "sql", scope = "container" } },
  provides = { feed = { interface = "feed" } },
  hooks = { install = step, ["config-changed"] = step, start = step, stop = step,
    ["info-relation-joined"] = function(unit, relation) step(unit)
      unit:set_status("active", `reads {#relation:units()}: {relation.remote}`) end,
    ["info-relation-changed"] = step, ["info-relation-departed"] = step, ["info-relation-broken"] = step } }"#
        }
        "log-alone" => r#"return charm { name = "log", summary = "s", series = { "bookworm" } }"#,
        "watch" => {
            r#"return charm { name = "watch", summary = "s", series = { "bookworm" },
  requires = { feed = { interface = "feed" } },
  hooks = { start = step, ["feed-relation-joined"] = step, ["feed-relation-departed"] = step,
    ["juju-info-relation-joined"] = function(unit, relation) step(unit)
      unit:set_status("active", `read by {#unit:relations("juju-info")}`) end } }"#
        }
        "db-broken" => r#"return charm { name = "db", summary = "s", series = { "bookworm" } }"#,
        other => panic!("there is no charm {other} in the stories"),
    };
    // Of a charm that has two names the second is another version.
    format!("{common}\n{body}\n-- {charm}\n")
}
