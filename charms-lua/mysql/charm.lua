--!strict
local applied = require("@std/applied")
local backup = require("./lib/backup")
local mysql = require("@std/mysql")
local replication = require("./lib/replication")
local software = require("@std/software")
local systemd = require("@std/systemd")
local template = require("@std/template")

local SETTINGS = "/etc/mysql/mariadb.conf.d/90-encanto.cnf"

-- Options that a running server takes, and the variable each sets. All are sizes, numbers or switches.
local TUNING = {
  { option = "max-connections", variable = "max_connections" },
  { option = "innodb-buffer-pool-size", variable = "innodb_buffer_pool_size", size = true },
  { option = "max-allowed-packet", variable = "max_allowed_packet", size = true },
  { option = "wait-timeout", variable = "wait_timeout" },
  { option = "slow-query-log", variable = "slow_query_log" },
  { option = "long-query-time", variable = "long_query_time" },
}

local COLLATIONS = {
  utf8mb4 = "utf8mb4_general_ci",
  utf8mb3 = "utf8mb3_general_ci",
  latin1 = "latin1_swedish_ci",
  binary = "binary",
}

local function tuning(unit: any): { { variable: string, value: string } }
  local list = {}
  for _, item in TUNING do
    local value = unit.config[item.option]
    if item.size then
      local ok, bytes = pcall(mysql.bytes, value)
      if not ok then
        error(`option {item.option}: {bytes}`, 0)
      end
      -- Not by tostring, which may write a large number with an exponent.
      value = string.format("%d", bytes)
    elseif type(value) == "boolean" then
      value = if value then "1" else "0"
    end
    table.insert(list, { variable = item.variable, value = tostring(value) })
  end
  local charset = unit.config["character-set"]
  table.insert(list, { variable = "character_set_server", value = charset })
  table.insert(list, { variable = "collation_server", value = (COLLATIONS :: any)[charset] })
  return list
end

-- Two files: a change of the first needs a restart, a change of the second is told to the running server.
local function configure(unit: any)
  local running = systemd.active(unit, "mariadb")
  applied.files(unit, "mariadb-base", {
    {
      path = SETTINGS,
      content = template.string(unit:file("templates/server.cnf"), {
        address = unit.private_address,
        server_id = (tonumber(string.match(unit.name, "%d+$")) :: number) + 1,
      }),
    },
  }, function()
    if running then
      systemd.restart(unit, "mariadb")
    end
  end)

  local lines, statements = { "# Written by the charm from its options.", "[mysqld]" }, {}
  for _, item in tuning(unit) do
    table.insert(lines, `{item.variable} = {item.value}`)
    local value = if string.match(item.value, "^[%d.]+$") then item.value else mysql.quote(item.value)
    table.insert(statements, `SET GLOBAL {item.variable} = {value};`)
  end
  applied.files(unit, "mariadb-tuning", {
    { path = "/etc/mysql/mariadb.conf.d/91-encanto-options.cnf", content = table.concat(lines, "\n") .. "\n" },
  }, function()
    if running then
      mysql.run(unit, table.concat(statements, "\n"))
    end
  end)
end

-- Of one relation. The database bears the remote service's name, so a service that is related again finds its data.
local function names(relation: any): (string, string)
  local database = mysql.name(relation.service)
  return database, `{string.sub(database, 1, 60)}_{replication.number(relation)}`
end

local function offer(unit: any, relation: any)
  local database, user = names(relation)
  -- Kept if an earlier hook got to its end; a hook that was killed before told nobody its password.
  local password = secret(relation:own("password") or random_hex(32))
  local account = `{mysql.quote(user)}@{mysql.quote(replication.network(unit))}`
  local pattern = string.gsub(mysql.identifier(database), "_", "\\_")
  mysql.run(unit, table.concat({
    `CREATE DATABASE IF NOT EXISTS {mysql.identifier(database)};`,
    `CREATE USER IF NOT EXISTS {account};`,
    -- Locked by a unit of this machine that has left.
    `ALTER USER {account} IDENTIFIED BY {mysql.quote(password)} ACCOUNT UNLOCK;`,
    `GRANT ALL PRIVILEGES ON {pattern}.* TO {account};`,
    -- With replicas a client has to see how far they are; without, there is nothing that it could want.
    if replication.shared(unit) then `GRANT SLAVE MONITOR, BINLOG MONITOR ON *.* TO {account};` else "",
  }, "\n"))
  relation:set({
    host = unit.private_address,
    port = "3306",
    database = database,
    user = user,
    password = password,
    slave = "False",
  })
end

local function withdraw(unit: any, relation: any)
  local database, user = names(relation)
  local found = mysql.run(unit, `SELECT QUOTE(user), QUOTE(host) FROM mysql.user WHERE user = {mysql.quote(user)};`)
  local statements = {}
  for quoted, host in string.gmatch(found, "([^\t\n]+)\t([^\n]+)") do
    table.insert(statements, `DROP USER IF EXISTS {quoted}@{host};`)
  end
  if unit.config["drop-databases"] then
    table.insert(statements, `DROP DATABASE IF EXISTS {mysql.identifier(database)};`)
  end
  mysql.run(unit, table.concat(statements, "\n"))
  -- A dropped user's open connections live on: they are ended by number, as some may end by themselves meanwhile.
  local open = mysql.run(unit, `SELECT id FROM information_schema.processlist WHERE user = {mysql.quote(user)};`)
  for id in string.gmatch(open, "%d+") do
    unit:exec({ "mariadb", "--execute", `KILL {id}`, check = false, quiet = true })
  end
end

-- What a replica tells: where the same user finds the same data to read.
local function offer_copy(unit: any, relation: any, from: replication.Source)
  local password = from.passwords[replication.number(relation)]
  if password then
    local database, user = names(relation)
    relation:set({
      host = unit.private_address,
      port = "3306",
      database = database,
      user = user,
      password = password,
      slave = "True",
    })
  end
end

local function withhold_copy(relation: any)
  relation:set({ host = "", port = "", database = "", user = "", password = "", slave = "" })
end

local function lead(unit: any)
  replication.promote(unit)
  local relations = unit:relations("db")
  for _, relation in relations do
    if #relation:units() > 0 then
      offer(unit, relation)
    end
  end
  local replicas = replication.share(unit, relations)
  local copied = if replicas == 0 then "" elseif replicas == 1 then ", 1 replica" else `, {replicas} replicas`
  unit:set_status("active", "ready" .. copied)
end

local function follow(unit: any)
  local from = replication.source(unit)
  if not from then
    unit:set_status("waiting", "waiting for the unit that is to be copied")
    return
  end
  local behind, reason = replication.follow(unit, from)
  for _, relation in unit:relations("db") do
    if behind then
      offer_copy(unit, relation, from)
    else
      withhold_copy(relation)
    end
  end
  if behind then
    unit:set_status("active", `replicating from {from.unit}, {behind} s behind`)
  else
    unit:set_status("blocked", `not replicating from {from.unit}: {reason}`)
  end
end

-- Every hook after the start comes here: the leader is written to, every other unit holds a copy of it.
local function settle(unit: any)
  if unit.is_leader then
    lead(unit)
  elseif unit.state.role ~= "primary" then
    follow(unit)
  end
  -- Else this unit led and is being removed: the next leader takes its place.
end

local size = "a number of bytes, or with K, M or G"

return charm({
  name = "mysql",
  summary = "MariaDB, the relational database that speaks MySQL's protocol",
  description = "Gives every related service a database of its own and a user that can reach only that one. "
    .. "Further units hold copies that can be read.",
  series = { "bookworm" },

  provides = { db = { interface = "mysql" } },
  peers = { cluster = { interface = "mysql-cluster" } },

  config = {
    ["max-connections"] = {
      type = "int", default = 151, min = 10, max = 100000, description = "Clients that may be connected at once",
    },
    ["innodb-buffer-pool-size"] = {
      type = "string", default = "128M", description = `Memory for data and indexes: {size}`,
    },
    ["max-allowed-packet"] = {
      type = "string", default = "16M", description = `Largest statement or row: {size}`,
    },
    ["wait-timeout"] = {
      type = "int", default = 28800, min = 1, max = 31536000,
      description = "Seconds after which an idle connection is closed",
    },
    ["character-set"] = {
      type = "string", default = "utf8mb4", choices = { "utf8mb4", "utf8mb3", "latin1", "binary" },
      description = "Character set of databases made from now on",
    },
    ["slow-query-log"] = { type = "boolean", default = false, description = "Whether slow statements are logged" },
    ["long-query-time"] = {
      type = "float", default = 10, min = 0, description = "Seconds from which a statement counts as slow",
    },
    ["drop-databases"] = {
      type = "boolean", default = false,
      description = "Whether a database is deleted when its relation is removed; otherwise it waits to be related again",
    },
  },

  prepare = function(machine)
    software.install(machine, { "mariadb-server" })
    software.only_with(machine, { "mariadb" }, SETTINGS)
  end,

  hooks = {
    install = function(unit)
      unit:set_status("maintenance", "configuring MariaDB")
    end,

    ["config-changed"] = function(unit)
      configure(unit)
    end,

    start = function(unit)
      systemd.start(unit, "mariadb")
      settle(unit)
    end,

    -- So that the status of a copy says how far it is behind now.
    ["update-status"] = settle,

    ["db-relation-joined"] = settle,
    ["db-relation-broken"] = function(unit, relation)
      -- A copy follows what it copies, and what another unit leads now is not this one's to take away.
      if unit.is_leader or (unit.state.role == "primary" and not unit.state.shared) then
        withdraw(unit, relation)
        settle(unit)
      end
    end,

    ["cluster-relation-joined"] = settle,
    ["cluster-relation-changed"] = settle,
    ["cluster-relation-departed"] = settle,

    stop = function(unit)
      if systemd.active(unit, "mariadb") then
        local ok, reason = pcall(replication.leave, unit)
        if not ok then
          unit:log("warning", `clients may be cut off: {reason}`)
        end
      end
      systemd.stop(unit, "mariadb")
      unit:remove(SETTINGS)
    end,
  },

  actions = {
    backup = {
      description = "Save databases in a file on the unit's machine",
      params = {
        database = { type = "string", default = "", description = "Which one; empty: all" },
      },
      run = function(unit, params)
        return backup.save(unit, params.database)
      end,
    },
    restore = {
      description = "Put databases back as they were when the file was made; what came later is lost",
      params = {
        file = { type = "string", required = true, description = "What `backup` has told, or any dump, also gzipped" },
      },
      run = function(unit, params)
        return backup.load(unit, params.file)
      end,
    },
  },
})
