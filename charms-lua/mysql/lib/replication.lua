--!strict
-- Copies of the leader's data in the other units, kept up to date by MariaDB's replication with global transaction ids.
--
-- The leader tells its peers in relation `cluster` where it is, how it can be copied, and the passwords of its clients,
-- whose accounts are copied with the rest. A new leader is always a former copy. It first makes the old one read-only
-- and takes over what was written there, so no write is lost as long as the old one can be reached.
local applied = require("@std/applied")
local mysql = require("@std/mysql")

local replication = {}

export type Source = { unit: string, host: string, user: string, password: any, passwords: { [string]: any } }

-- There while the data here are not the whole of what is copied, also after a hook that was killed. Says by which unit.
local UNFINISHED = "/var/lib/mysql/encanto-copy-unfinished"
local READ_ONLY = "/etc/mysql/mariadb.conf.d/92-encanto-replica.cnf"
local USER = "encanto_replication"
local PRIVILEGES = "REPLICATION SLAVE, BINLOG MONITOR, READ_ONLY ADMIN, SELECT, RELOAD, LOCK TABLES, SHOW VIEW, "
  .. "EVENT, TRIGGER, PROCESS"

local SYSTEM = { mysql = true, information_schema = true, performance_schema = true, sys = true }

-- The data of the leader replace whatever this server has. Nothing of it goes into this server's own log of changes.
-- Nobody writes or changes tables while the leader is read: a transaction would shield neither from what MyISAM tables
-- get nor from new tables, and either is there before replication brings it. Hence a file first: reading is quicker than
-- loading.
local COPY = [[
set -e
umask 077
file=/var/tmp/encanto-copy.sql
trap 'rm -f -- "$file"' EXIT
{
  echo 'SET SESSION sql_log_bin = 0;'
  MYSQL_PWD="$SOURCE_PASSWORD" mariadb-dump --host="$SOURCE_HOST" --user="$SOURCE_USER" --all-databases \
    --lock-all-tables --master-data=1 --gtid --flush-privileges --routines --events --triggers \
    --ignore-table=mysql.gtid_slave_pos
} > "$file"
mariadb < "$file"
]]

local function text(value: any): string
  return if type(value) == "string" then value else value:reveal()
end

-- The network that machines of the environment are in, as MariaDB writes it: 10.0.3.0/255.255.255.0.
function replication.network(unit: any): string
  local listed = unit:exec({ "ip", "-4", "-o", "address", "show", quiet = true }).stdout
  local address = string.split(unit.private_address, ".")
  local prefix = string.match(listed, "inet " .. string.gsub(unit.private_address, "%.", "%%.") .. "/(%d+)")
  if not prefix or #address ~= 4 then
    error(`no interface of this machine has the address {unit.private_address}`, 0)
  end
  local left, net, mask = tonumber(prefix) :: number, {}, {}
  for index = 1, 4 do
    local bits = math.clamp(left, 0, 8)
    left -= bits
    mask[index] = 256 - 2 ^ (8 - bits)
    net[index] = bit32.band(tonumber(address[index]) :: number, mask[index])
  end
  return `{table.concat(net, ".")}/{table.concat(mask, ".")}`
end

-- The number of a relation, by which leader and copies mean the same one.
function replication.number(relation: any): string
  return string.match(relation.id, "%d+$") or "0"
end

-- Whether there are, or were, units to copy this one.
function replication.shared(unit: any): boolean
  for _, relation in unit:relations("cluster") do
    if #relation:units() > 0 then
      unit.state.shared = true
    end
  end
  return unit.state.shared == true
end

-- Tells the other units how to copy this one; how many there are.
function replication.share(unit: any, clients: { any }): number
  local count = 0
  for _, relation in unit:relations("cluster") do
    local others = #relation:units()
    if others > 0 then
      -- Kept if an earlier hook got to its end; a hook that was killed before told nobody its password.
      local password = secret(text(relation:own("password") or random_hex(32)))
      local account = `{mysql.quote(USER)}@{mysql.quote(replication.network(unit))}`
      mysql.run(unit, table.concat({
        `CREATE USER IF NOT EXISTS {account};`,
        `ALTER USER {account} IDENTIFIED BY {mysql.quote(password)};`,
        `GRANT {PRIVILEGES} ON *.* TO {account};`,
      }, "\n"))
      local told: any = { host = unit.private_address, user = USER, password = password }
      for key in relation:own() do
        if string.match(key, "^client%-%d+$") then
          told[key] = ""
        end
      end
      for _, client in clients do
        local of_client = client:own("password")
        if of_client and #client:units() > 0 then
          told[`client-{replication.number(client)}`] = secret(text(of_client))
        end
      end
      relation:set(told)
    end
    count += others
  end
  return count
end

-- The unit to be copied; nil while none says so. While one leader follows another, both may: the later one has the
-- higher number.
function replication.source(unit: any): Source?
  local found: Source?, highest = nil, -1
  for _, relation in unit:relations("cluster") do
    for _, remote in relation:units() do
      local all = relation:get(nil, remote)
      local number = tonumber(string.match(remote, "%d+$")) :: number
      if all.host and all.user and all.password and number > highest then
        local passwords = {}
        for key, value in all do
          local client = string.match(key, "^client%-(%d+)$")
          if client then
            passwords[client] = secret(text(value))
          end
        end
        highest = number
        local password = secret(text(all.password))
        found = { unit = remote, host = all.host, user = all.user, password = password, passwords = passwords }
      end
    end
  end
  return found
end

-- MariaDB's own account of how the copying goes; empty if nothing is copied.
local function progress(unit: any): { [string]: string }
  local said = unit:exec({ "mariadb", "--batch", "--execute", "SHOW SLAVE STATUS", quiet = true }).stdout
  local lines, values = string.split(said, "\n"), {}
  if #lines >= 2 then
    local row = string.split(lines[2], "\t")
    for index, name in string.split(lines[1], "\t") do
      values[name] = row[index]
    end
  end
  return values
end

-- Drops what an interrupted copy left.
local function clear(unit: any)
  local statements = { "STOP SLAVE; RESET SLAVE ALL; RESET MASTER; SET SESSION sql_log_bin = 0;" }
  for name in string.gmatch(mysql.run(unit, "SHOW DATABASES;"), "[^\n]+") do
    if not (SYSTEM :: any)[name] then
      table.insert(statements, `DROP DATABASE {mysql.identifier(name)};`)
    end
  end
  mysql.run(unit, table.concat(statements, "\n"))
end

local function copy(unit: any, from: Source)
  unit:set_status("maintenance", `copying the data of {from.unit}`)
  unit:write(UNFINISHED, unit.name)
  clear(unit)
  unit:exec({
    "bash", "-c", COPY,
    env = { SOURCE_HOST = from.host, SOURCE_USER = from.user, SOURCE_PASSWORD = from.password },
    quiet = true,
  })
  unit:remove(UNFINISHED)
end

-- How replication goes once it had time to begin: MariaDB's account, and by how many seconds this unit is behind, or
-- nil.
local function watched(unit: any): ({ [string]: string }, string?)
  local now
  for _ = 1, 30 do
    now = progress(unit)
    if now.Seconds_Behind_Master and now.Seconds_Behind_Master ~= "NULL" then
      return now, now.Seconds_Behind_Master
    elseif now.Slave_SQL_Running == "No" and now.Last_SQL_Error ~= "" then
      break
    end
    sleep(0.5)
  end
  return now, nil
end

local function replicate(unit: any, from: Source)
  mysql.run(unit, table.concat({
    "STOP SLAVE;",
    `CHANGE MASTER TO MASTER_HOST = {mysql.quote(from.host)}, MASTER_PORT = 3306, MASTER_USER = {mysql.quote(from.user)},`,
    `MASTER_PASSWORD = {mysql.quote(from.password)}, MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 2;`,
    "START SLAVE;",
  }, "\n"))
end

-- What ended replication, if only a new copy can mend it: the data here do not fit the leader's any more, as after a
-- power cut with MyISAM tables, or the leader has no longer what comes next (error 1236).
local function misfit(now: { [string]: string }): string?
  if (now.Last_SQL_Error or "") ~= "" then
    return now.Last_SQL_Error
  end
  return if now.Last_IO_Errno == "1236" then now.Last_IO_Error else nil
end

-- Makes this unit a copy of `from`. Returns by how many seconds it is behind, or nil and why it does not copy.
function replication.follow(unit: any, from: Source): (string?, string?)
  applied.files(unit, "mariadb-replica", {
    { path = READ_ONLY, content = "# Written by the charm: this unit holds a copy.\n[mysqld]\nread_only = 1\n" },
  }, function()
    mysql.run(unit, "SET GLOBAL read_only = 1;")
  end)
  local copied = unit.state.role == "replica" and not unit:exists(UNFINISHED)
  if not copied then
    copy(unit, from)
  end
  local before, now = unit.state.source, progress(unit)
  local same = before and before.host == from.host and text(before.password) == text(from.password)
  if not same or now.Master_Host ~= from.host then
    replicate(unit, from)
  elseif now.Slave_IO_Running == "No" or now.Slave_SQL_Running == "No" then
    mysql.run(unit, "START SLAVE;")
  end
  unit.state.role = "replica"
  unit.state.source = { unit = from.unit, host = from.host, user = from.user, password = secret(text(from.password)) }
  local behind
  now, behind = watched(unit)
  local why = misfit(now)
  if not behind and why and copied then
    unit:log("warning", `copying {from.unit} anew, as replication ended: {why}`)
    copy(unit, from)
    replicate(unit, from)
    now, behind = watched(unit)
  end
  if behind then
    return behind
  end
  local reason = if (now.Last_SQL_Error or "") ~= "" then now.Last_SQL_Error else now.Last_IO_Error
  return nil, if (reason or "") ~= "" then reason else "it has not begun"
end

-- Fetches what the former leader has not passed on; nothing more may be written there.
local function fetch_rest(unit: any, source: any)
  local last = unit:exec({
    "mariadb", "--batch", "--skip-column-names", "--connect-timeout=10", `--host={source.host}`, `--user={source.user}`,
    env = { MYSQL_PWD = secret(text(source.password)) },
    stdin = "SET GLOBAL read_only = 1; SELECT @@GLOBAL.gtid_binlog_pos;\n",
    check = false, quiet = true, timeout = 60,
  })
  local position = string.match(last.stdout, "^[%d,%-]+")
  if last.code ~= 0 or not position then
    unit:log("warning", `{source.unit} cannot be asked; what it had not passed on is not here`)
  elseif not string.find(mysql.run(unit, `SELECT MASTER_GTID_WAIT({mysql.quote(position)}, 120);`), "^0") then
    unit:log("warning", `not all that {source.unit} has written arrived within two minutes`)
  end
end

-- Makes this the unit that is written to, also on a machine where an earlier unit held a copy.
function replication.promote(unit: any)
  if unit.state.role == "primary" then
    return
  end
  if unit:exists(UNFINISHED) then
    local from = replication.source(unit) or unit.state.source
    if from then
      replication.follow(unit, from)
    elseif unit:read(UNFINISHED) == unit.name then
      error("the copy of the former leader's data was cut off and nobody has them: restore a backup", 0)
    else
      clear(unit)
      unit:remove(UNFINISHED)
    end
  end
  local source = unit.state.source
  if unit.state.role == "replica" then
    unit:log("info", `taking over from {source.unit}`)
    fetch_rest(unit, source)
  end
  mysql.run(unit, "STOP SLAVE; RESET SLAVE ALL;")
  unit:remove(READ_ONLY)
  mysql.run(unit, "SET GLOBAL read_only = 0;")
  unit.state.source = nil
  unit.state.role = "primary"
end

-- Clients and copies that want something of this server, or did just now.
local BUSY = "SELECT host FROM information_schema.processlist "
  .. "WHERE host <> 'localhost' AND (command <> 'Sleep' OR time < 2);"

local function busy(unit: any): boolean
  local hosts = mysql.run(unit, BUSY)
  -- The server itself is slow to see that a copy has turned away: it notices with the next change that it would send.
  local connected = unit:exec({
    "ss", "--no-header", "--tcp", "--numeric", "state", "established", "sport", "=", ":3306", quiet = true,
  }).stdout
  for host in string.gmatch(hosts, "[^\n]+") do
    if string.find(connected, host, 1, true) then
      return true
    end
  end
  return false
end

-- Ends serving before the server is stopped: nobody new is let in, whoever is inside may finish, and copies turn to the
-- next leader, which fetches the rest first. Who is still there after half a minute is cut off.
function replication.leave(unit: any)
  local statements = { "SET SESSION sql_log_bin = 0;" }
  local found = mysql.run(unit, `SELECT QUOTE(user), QUOTE(host) FROM mysql.user WHERE user <> {mysql.quote(USER)};`)
  for user, host in string.gmatch(found, "([^\t\n]+)\t([^\n]+)") do
    if host ~= "'localhost'" and host ~= "''" then
      table.insert(statements, `ALTER USER {user}@{host} ACCOUNT LOCK;`)
    end
  end
  mysql.run(unit, table.concat(statements, "\n"))
  for _ = 1, 150 do
    if not busy(unit) then
      return
    end
    sleep(0.2)
  end
end

return replication
