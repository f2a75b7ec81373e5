--!strict
-- Both sides of a `mysql` relation, and SQL for the side that owns the server.
local mysql = {}

export type Database = {
  host: string,
  port: string,
  database: string,
  user: string,
  password: any,
  unit: string,
}

local function text(value: any): string
  return if type(value) == "string" then value else value:reveal()
end

local NEEDED = { "host", "database", "user", "password" }

local function is_replica(relation: any, remote: string): boolean
  return string.lower(relation:get("slave", remote) or "") == "true"
end

-- The database that a unit of `endpoint` offers, or nil and why there is none yet.
--
-- With several server units the first that offers one for writing is taken: only one of them does.
function mysql.offered(unit: any, endpoint: string): (Database?, string?)
  local related = false
  for _, relation in unit:relations(endpoint) do
    -- The relation that a broken hook is about is listed still, with nobody in it.
    related = related or unit.hook ~= endpoint .. "-relation-broken" or #relation:units() > 0
    for _, remote in relation:units() do
      local complete = not is_replica(relation, remote)
      for _, key in NEEDED do
        local value = relation:get(key, remote)
        complete = complete and value ~= nil and value ~= ""
      end
      if complete then
        return {
          host = relation:get("host", remote),
          port = relation:get("port", remote) or "3306",
          database = relation:get("database", remote),
          user = relation:get("user", remote),
          password = secret(text(relation:get("password", remote))),
          unit = remote,
        }
      end
    end
  end
  if related then
    return nil, "waiting for the database"
  end
  return nil
end

-- Servers that hold a copy of that database to be read from, with the same user and password, as host:port.
function mysql.replicas(unit: any, endpoint: string, db: Database): { string }
  local servers = {}
  for _, relation in unit:relations(endpoint) do
    for _, remote in relation:units() do
      local host = relation:get("host", remote)
      local same = relation:get("database", remote) == db.database and relation:get("user", remote) == db.user
      local password = relation:get("password", remote)
      if host and same and is_replica(relation, remote) and password and text(password) == text(db.password) then
        table.insert(servers, `{host}:{relation:get("port", remote) or "3306"}`)
      end
    end
  end
  table.sort(servers)
  return servers
end

-- Whether a unit of `endpoint` holds a copy to be read from. If none offers a database for writing at the same time, one
-- of them is about to take over.
function mysql.copied(unit: any, endpoint: string): boolean
  for _, relation in unit:relations(endpoint) do
    for _, remote in relation:units() do
      local host = relation:get("host", remote)
      if host and host ~= "" and is_replica(relation, remote) then
        return true
      end
    end
  end
  return false
end

-- A name for SQL made of any name.
function mysql.name(name: string): string
  return (string.sub(string.gsub(name, "[^%w_]", "_"), 1, 64))
end

-- 'text' as a literal.
function mysql.quote(value: any): string
  return "'" .. string.gsub(text(value), "[\\']", "\\%0") .. "'"
end

-- `name` as an identifier.
function mysql.identifier(name: string): string
  return "`" .. string.gsub(name, "`", "``") .. "`"
end

-- Runs statements as the server's administrator (through its socket, no password) and returns their output.
function mysql.run(unit: any, statements: string): string
  return unit:exec({
    "mariadb", "--batch", "--skip-column-names",
    stdin = statements .. "\n",
    quiet = true,
  }).stdout
end

-- 128M → 134217728. An error if it is no size.
function mysql.bytes(size: string): number
  local number, factor = string.match(size, "^%s*(%d+)%s*([kKmMgG]?)[bB]?%s*$")
  if not number then
    error(`"{size}" is not a size such as 128M or 1G`, 2)
  end
  local factors: any = { [""] = 1, k = 1024, m = 1024 ^ 2, g = 1024 ^ 3 }
  return tonumber(number) :: number * factors[string.lower(factor)]
end

return mysql
