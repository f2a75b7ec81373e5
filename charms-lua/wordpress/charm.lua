--!strict
local apache = require("@std/apache")
local applied = require("@std/applied")
local mysql = require("@std/mysql")
local php = require("@std/php")
local software = require("@std/software")
local template = require("@std/template")
local website = require("@std/website")

local SETTINGS = "/etc/wordpress/config-default.php"
local SCRIPTS = "/usr/local/share/encanto-wordpress"
local PORT = 80

local function settings(unit: any, db: any): string
  local config = unit.config
  return template.string(unit:file("templates/config-default.php"), {
    db_host = php.quote(`{db.host}:{db.port}`),
    db_name = php.quote(db.database),
    db_user = php.quote(db.user),
    db_password = php.quote(db.password),
    url = php.quote(config["server-url"]),
    debug = php.bool(config.debug),
    post_revisions = tostring(config["post-revisions"]),
    memory_limit = php.quote(config["memory-limit"]),
    secret_key = php.quote(config["secret-key"]),
  })
end

-- What the blog in the database should be, in one text that tells no secret.
local function wanted(unit: any, db: any): string
  local config = unit.config
  local parts = {
    db.host, db.database, config["secret-key"], config["blog-title"], config["admin-user"], config["admin-email"],
    config["admin-password"],
  }
  local sum = unit:exec({ "sha256sum", stdin = table.concat(parts, "\n"), quiet = true }).stdout
  return string.sub(sum, 1, 32)
end

-- Installs the blog unless the database holds one, and makes title and administrator what the options say. Every
-- unit may run this, also at the same time.
local function fill(unit: any)
  local config = unit.config
  unit:push("lib/setup.php", `{SCRIPTS}/setup.php`)
  unit:exec({
    "php", `{SCRIPTS}/setup.php`,
    env = {
      BLOG_TITLE = config["blog-title"],
      ADMIN_USER = config["admin-user"],
      ADMIN_EMAIL = config["admin-email"],
      ADMIN_PASSWORD = secret(config["admin-password"]),
    },
    user = "www-data",
    quiet = true,
  })
end

local function serve(unit: any, db: any)
  local changed = applied.files(unit, "wordpress", {
    { path = SETTINGS, content = settings(unit, db), mode = "0640", user = "root", group = "www-data" },
  }, function()
    apache.refresh(unit)
  end)
  local is_wanted = wanted(unit, db)
  if unit.state.filled ~= is_wanted then
    if not unit.state.serving then
      unit:set_status("maintenance", "installing the blog into its database")
    end
    fill(unit)
    unit.state.filled = is_wanted
  end
  apache.serve(unit)
  if changed or not unit.state.serving then
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
  unit.state.filled = nil
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
  else
    rest(unit, reason)
  end
end

return charm({
  name = "wordpress",
  summary = "The blog engine",
  description = "An installed blog on Apache and PHP. It needs a mysql relation; several units share one database.",
  series = { "bookworm" },

  requires = { db = { interface = "mysql" } },
  provides = { website = { interface = "http" } },
  peers = { loadbalancer = { interface = "wordpress-loadbalancer" } },

  config = {
    ["blog-title"] = { type = "string", default = "Blog", description = "Title of the blog" },
    ["server-url"] = {
      type = "string", default = "",
      description = "Address under which the blog names itself, e.g. https://blog.example.org; empty: whatever the browser used",
    },
    debug = { type = "boolean", default = false, description = "Whether PHP's warnings are shown in the page" },
    ["post-revisions"] = {
      type = "int", default = 20, min = 0, max = 1000, description = "Earlier versions of a post that are kept",
    },
    ["memory-limit"] = { type = "string", default = "128M", description = "Memory one request may use" },
    ["admin-user"] = { type = "string", default = "admin", description = "Name of the administrator's account" },
    ["admin-email"] = {
      type = "string", default = "admin@localhost.localdomain", description = "Address of the administrator",
    },
    ["admin-password"] = {
      type = "string", secret = true, generate = 20, description = "Password of the administrator",
    },
    ["secret-key"] = {
      type = "string", secret = true, generate = 64,
      description = "What the keys and salts of sessions are made from; the same in all units",
    },
  },

  prepare = function(machine)
    software.install(machine, {
      "wordpress", "wordpress-theme-twentytwentythree",
      "apache2", "libapache2-mod-php", "php-cli", "php-curl", "php-mbstring", "php-xml",
    })
    apache.site(machine, "wordpress", machine:file("templates/site.conf"), {
      needs = SETTINGS,
      modules = { "rewrite" },
    })
  end,

  hooks = {
    install = function(unit)
      unit:set_status("maintenance", "configuring the blog")
    end,
    ["config-changed"] = settle,
    start = settle,

    ["db-relation-joined"] = settle,
    ["db-relation-changed"] = settle,
    ["db-relation-departed"] = settle,
    ["db-relation-broken"] = settle,

    ["website-relation-joined"] = function(unit, relation)
      if unit.state.serving then
        relation:set({ hostname = unit.private_address, port = tostring(PORT) })
      end
    end,

    stop = function(unit)
      apache.halt(unit)
      unit:remove(SETTINGS)
    end,
  },
})
