--!strict
local apache = require("@std/apache")
local applied = require("@std/applied")
local mysql = require("@std/mysql")
local php = require("@std/php")
local software = require("@std/software")
local template = require("@std/template")
local website = require("@std/website")

local SETTINGS = "/etc/mediawiki/LocalSettings.php"
local SCRIPTS = "/usr/local/share/encanto-mediawiki"
local PORT = 80

-- Servers of the optional `cache` relation, as host:port.
local function caches(unit: any): { string }
  local servers = {}
  for _, relation in unit:relations("cache") do
    for _, remote in relation:units() do
      local host = relation:get("host", remote) or relation:get("private-address", remote)
      if host and host ~= "" then
        table.insert(servers, `{host}:{relation:get("port", remote) or "11211"}`)
      end
    end
  end
  table.sort(servers)
  return servers
end

-- Addresses of the balancers before this unit: what they say of a client's address is believed.
local function proxies(unit: any): string
  local found = {}
  for _, relation in unit:relations("website") do
    for _, remote in relation:units() do
      local address = relation:get("private-address", remote)
      if address and address ~= "" then
        table.insert(found, php.quote(address))
      end
    end
  end
  table.sort(found)
  return `[{table.concat(found, ", ")}]`
end

-- A cache in the database that goes past MediaWiki's choice among servers: that choice asks the cache, so with replicas
-- CACHE_DB calls itself until the memory is used up.
local DIRECT_CACHE = [[
$wgObjectCaches['primary'] = [ 'class' => SqlBagOStuff::class, 'loggroup' => 'SQLBagOStuff', 'server' => [
	'type' => 'mysql', 'host' => $wgDBserver, 'dbname' => $wgDBname, 'user' => $wgDBuser, 'password' => $wgDBpassword,
	'flags' => DBO_DEFAULT & ~DBO_TRX,
] ];
]]

-- The servers of the database, by MediaWiki's weights: most of what is read is read from replicas, if there are any,
-- and the primary takes over if they fail.
local function databases(unit: any, db: any): string
  local function server(address: string, load: number): string
    return `\t[ 'host' => {php.quote(address)}, 'dbname' => $wgDBname, 'user' => $wgDBuser, 'password' => $wgDBpassword,\n`
      .. `\t\t'type' => 'mysql', 'flags' => DBO_DEFAULT, 'load' => {load}, 'useGTIDs' => true ],\n`
  end
  local replicas = mysql.replicas(unit, "db", db)
  if #replicas == 0 then
    return ""
  end
  local text = "$wgDBservers = [\n" .. server(`{db.host}:{db.port}`, 1)
  for _, address in replicas do
    text ..= server(address, 4)
  end
  return text .. "];\n" .. DIRECT_CACHE
end

local function settings(unit: any, db: any): string
  local config = unit.config
  local servers = {}
  for _, server in caches(unit) do
    table.insert(servers, php.quote(server))
  end
  local url, db_servers = config["server-url"], databases(unit, db)
  return template.string(unit:file("templates/LocalSettings.php"), {
    name = php.quote(config.name),
    server = php.quote(url),
    skin = php.quote(config.skin),
    language = php.quote(config.language),
    debug = php.bool(config.debug),
    db_server = php.quote(`{db.host}:{db.port}`),
    db_name = php.quote(db.database),
    db_user = php.quote(db.user),
    db_password = php.quote(db.password),
    db_servers = db_servers,
    proxies = proxies(unit),
    cache_prefix = php.quote(db.user),
    cache_type = if #servers > 0 then "CACHE_MEMCACHED" elseif db_servers ~= "" then "'primary'" else "CACHE_DB",
    cache_servers = `[{table.concat(servers, ", ")}]`,
    secret_key = php.quote(config["secret-key"]),
    upgrade_key = php.quote(config["upgrade-key"]),
  })
end

-- Fills the database unless it holds a wiki already: every unit may run this, also at the same time.
local function fill(unit: any, db: any): boolean
  local config = unit.config
  unit:push("lib/install.php", `{SCRIPTS}/install.php`)
  local done = unit:exec({
    "php", `{SCRIPTS}/install.php`,
    env = {
      DB_HOST = db.host, DB_PORT = db.port, DB_NAME = db.database, DB_USER = db.user, DB_PASSWORD = db.password,
      WIKI_NAME = config.name, WIKI_LANGUAGE = config.language,
      ADMIN_USER = config["admin-user"], ADMIN_PASSWORD = secret(config["admin-password"]),
    },
    quiet = true,
  })
  return string.find(done.stdout, "installed", 1, true) ~= nil
end

-- What the administrator's account depends on, without telling it.
local function account(unit: any, db: any): string
  local config = unit.config
  local parts = { db.host, db.database, config["secret-key"], config["admin-user"], config["admin-password"] }
  local sum = unit:exec({ "sha256sum", stdin = table.concat(parts, "\n"), quiet = true }).stdout
  return string.sub(sum, 1, 32)
end

local ADMINISTRATOR = "sysop,bureaucrat,interface-admin"

-- Makes an account, or changes it; returns its name as the wiki writes it. `is` may ask for a "new" or a "known" one.
local function set_account(unit: any, name: string, password: any, options: { groups: string?, is: string? }): string
  unit:push("lib/account.php", `{SCRIPTS}/account.php`)
  return unit:exec({
    "php", `{SCRIPTS}/account.php`,
    env = {
      -- Not as a secret: one that an action has made is to be told.
      ACCOUNT_NAME = name, ACCOUNT_PASSWORD = password,
      ACCOUNT_GROUPS = options.groups or "", ACCOUNT_IS = options.is or "",
    },
    user = "www-data",
    quiet = true,
  }).stdout
end

local function administrator(unit: any)
  set_account(unit, unit.config["admin-user"], unit.config["admin-password"], { groups = ADMINISTRATOR })
end

-- The body of an action about one account. A password that nobody gave is made, and told once: in the results.
local function account_action(unit: any, params: any, options: { groups: string?, is: string? }): { [string]: any }
  if not unit.state.serving then
    error("the wiki is not installed yet: it has no database", 0)
  end
  if string.lower(params.name) == string.lower(unit.config["admin-user"]) then
    error(`{params.name} is the administrator of the options: encanto set {unit.service} admin-password=…`, 0)
  end
  local made = if params.password then nil else random_hex(20)
  local name = set_account(unit, params.name, params.password or made, options)
  return { name = name, password = made }
end

local function serve(unit: any, db: any)
  local database = `{db.host}:{db.port}/{db.database}`
  local is_account = account(unit, db)
  if unit.state.database ~= database then
    unit:set_status("maintenance", "installing the wiki into its database")
    if fill(unit, db) then
      unit.state.account = is_account
    end
    unit.state.database = database
  end
  local changed = applied.files(unit, "mediawiki", {
    { path = SETTINGS, content = settings(unit, db), mode = "0640", user = "root", group = "www-data" },
  }, function()
    apache.refresh(unit)
  end)
  if unit.state.account ~= is_account then
    administrator(unit)
    unit.state.account = is_account
  end
  apache.serve(unit)
  -- When a server has left, those that stay were checked as they came; or they are about to leave, too.
  if (changed and unit.hook ~= "db-relation-departed") or not unit.state.serving then
    apache.check(unit, "/")
  end
  unit:open_port(PORT)
  website.announce(unit, "website", PORT)
  unit.state.serving = true
  unit:set_status("active", "ready")
end

local function rest(unit: any, reason: string?)
  -- The file tells whether the site is up even if the hook that brought it up was killed; it goes last.
  if unit:exists(SETTINGS) then
    apache.halt(unit)
    unit:remove(SETTINGS)
  end
  if unit.state.serving then
    unit:close_port(PORT)
    website.withdraw(unit, "website")
  end
  unit.state.serving = nil
  unit.state.database = nil
  unit.state.account = nil
  if reason then
    unit:set_status("waiting", reason)
  else
    unit:set_status("blocked", "needs a mysql relation: add-relation " .. unit.service .. " mysql")
  end
end

-- Every hook comes here: what the unit should do follows from its config and relations alone.
local function settle(unit: any)
  local db, reason = mysql.offered(unit, "db")
  if db then
    serve(unit, db)
  elseif unit.state.serving and mysql.copied(unit, "db") then
    -- The primary goes and a copy is about to take its place: whoever reads is not to notice.
    unit:set_status("waiting", "read only: waiting for a database that can be written to")
  else
    rest(unit, reason)
  end
end

return charm({
  name = "mediawiki",
  summary = "The wiki engine of Wikipedia",
  description = "An installed wiki on Apache and PHP. It needs a mysql relation; several units share one database.",
  series = { "bookworm" },

  requires = {
    db = { interface = "mysql" },
    cache = { interface = "memcache", optional = true },
  },
  provides = { website = { interface = "http" } },

  config = {
    name = { type = "string", default = "Wiki", description = "Title of the wiki" },
    ["server-url"] = {
      type = "string", default = "",
      description = "Address under which the wiki names itself, e.g. https://wiki.example.org; empty: whatever the browser used",
    },
    skin = {
      type = "string", default = "vector", choices = { "vector", "vector-2022", "monobook", "timeless", "minerva" },
      description = "Look of the pages",
    },
    language = { type = "string", default = "en", description = "Language code of the wiki's interface" },
    debug = { type = "boolean", default = false, description = "Whether errors are shown in the page with their details" },
    ["admin-user"] = { type = "string", default = "Admin", description = "Name of the administrator's account" },
    ["admin-password"] = {
      type = "string", secret = true, generate = 20, description = "Password of the administrator; at least 10 characters",
    },
    ["secret-key"] = {
      type = "string", secret = true, generate = 64, description = "Signs sessions; the same in all units",
    },
    ["upgrade-key"] = {
      type = "string", secret = true, generate = 16, description = "Asked for by the upgrade pages; the same in all units",
    },
  },

  prepare = function(machine)
    software.install(machine, { "mediawiki", "apache2", "libapache2-mod-php", "php-cli", "php-apcu" })
    apache.site(machine, "mediawiki", machine:file("templates/site.conf"), {
      needs = SETTINGS,
      unused = { "mediawiki" },
    })
  end,

  hooks = {
    install = function(unit)
      unit:set_status("maintenance", "configuring the wiki")
    end,
    ["config-changed"] = settle,
    start = settle,

    ["db-relation-joined"] = settle,
    ["db-relation-changed"] = settle,
    ["db-relation-departed"] = settle,
    ["db-relation-broken"] = settle,

    ["cache-relation-joined"] = settle,
    ["cache-relation-changed"] = settle,
    ["cache-relation-departed"] = settle,
    ["cache-relation-broken"] = settle,

    ["website-relation-joined"] = settle,
    ["website-relation-departed"] = settle,
    ["website-relation-broken"] = settle,

    stop = function(unit)
      apache.halt(unit)
      unit:remove(SETTINGS)
    end,
  },

  actions = {
    ["create-user"] = {
      description = "Make an account; its password is in the results unless one is given",
      params = {
        name = { type = "string", required = true, description = "Name of the account" },
        password = { type = "string", secret = true, description = "At least 8 characters, of an administrator 10" },
        administrator = { type = "boolean", default = false, description = "Whether it may administrate the wiki" },
      },
      run = function(unit, params)
        local groups = if params.administrator then ADMINISTRATOR else nil
        return account_action(unit, params, { groups = groups, is = "new" })
      end,
    },
    ["reset-password"] = {
      description = "Give an account another password; it is in the results unless one is given",
      params = {
        name = { type = "string", required = true, description = "Name of the account" },
        password = { type = "string", secret = true, description = "At least 8 characters, of an administrator 10" },
      },
      run = function(unit, params)
        return account_action(unit, params, { is = "known" })
      end,
    },
  },
})
