--!strict
-- Packages for a layer: installed, and nothing started.
--
-- For `prepare`. Three things make it faster than a plain apt-get, and none of them shows in the result:
--
-- * No service is started, restarted or reloaded while packages are configured (policy-rc.d says no). A unit starts its
--   services when they have their configuration.
-- * dpkg does not wait for the disk: what is being made is kept or thrown away as a whole.
-- * ucf, through which PHP's packages register some thirty .ini files, starts debconf for each, 0.2 s a file. A file
--   that is new has no question to ask; it is recorded as ucf records it. Everything else goes to the real ucf.
--
-- An interrupted run leaves these helpers behind; running it again removes them.
local apt = require("@std/apt")

local software = {}

local HELPERS = "/usr/local/lib/encanto-install"
local POLICY = "/usr/sbin/policy-rc.d"
local SETTINGS = "/etc/apt/apt.conf.d/95encanto-install"

local DENY = "#!/bin/sh\n# Written by encanto while a layer is made: packages start nothing.\nexit 101\n"

-- Neither packages nor apt's own caches are kept: 150 MB that a layer would carry for nothing.
local APT = `DPkg::Path "{HELPERS}:/usr/sbin:/usr/bin:/sbin:/bin";\n`
  .. [[DPkg::Options { "--force-unsafe-io"; };
APT::Keep-Downloaded-Packages "false";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
]]

local UCF = [[#!/bin/sh
# A configuration file that is new to this machine, recorded as ucf records it.
new= dest=
for argument in "$@"; do
  case $argument in
  --debconf-ok | --three-way) ;;
  -*) exec /usr/bin/ucf "$@" ;;
  *)
    if [ -z "$new" ]; then new=$argument
    elif [ -z "$dest" ]; then dest=$argument
    else exec /usr/bin/ucf "$@"; fi
    ;;
  esac
done
records=/var/lib/ucf
case $dest in /*) ;; *) exec /usr/bin/ucf "$@" ;; esac
if [ -e "$dest" ] || [ -L "$dest" ] || [ ! -f "$new" ] || grep -qsF " $dest" $records/hashfile; then
  exec /usr/bin/ucf "$@"
fi
set -e
mkdir -p $records/cache
sum=$(md5sum < "$new")
echo "${sum%% *}  $dest" >> $records/hashfile
cp -p "$new" "$records/cache/$(echo "$dest" | tr / :)"
cp -p "$new" "$dest"
]]

local UCFR = [[#!/bin/sh
# A file that no package has registered yet.
if [ "$1" = --force ]; then package=$2 file=$3; else package=$1 file=$2; fi
case "$package $file" in
-* | *" -"* | " "* | *" ") exec /usr/bin/ucfr "$@" ;;
esac
if grep -qsF "	 $file" /var/lib/ucf/registry; then exec /usr/bin/ucfr "$@"; fi
printf '%s \t %s\n' "$package" "$file" >> /var/lib/ucf/registry
]]

-- Installs packages without their recommendations. Returns whether anything was changed.
function software.install(machine: any, packages: { string }): boolean
  local policy = machine:read(POLICY)
  local ours = policy == nil or policy == DENY
  if ours then
    machine:write(POLICY, DENY, { mode = "0755" })
  end
  machine:write(HELPERS .. "/ucf", UCF, { mode = "0755" })
  machine:write(HELPERS .. "/ucfr", UCFR, { mode = "0755" })
  machine:write(SETTINGS, APT, { mode = "0644" })

  local ok, result = pcall(apt.install, machine, packages, { recommends = false })

  machine:remove(SETTINGS)
  machine:remove(HELPERS)
  if ours then
    machine:remove(POLICY)
  end
  if not ok then
    error(result, 0)
  end
  return result
end

-- Lets services that packages have enabled start, at boot too, only while the file `path` exists.
--
-- A layer must not bring up a service that no unit has configured. This is quicker than to disable it here and enable
-- it in each unit, and taking the file away is enough to keep the service down after a restart of the machine.
function software.only_with(machine: any, services: { string }, path: string)
  local changed = false
  for _, service in services do
    local text = `[Unit]\nConditionPathExists={path}\n`
    changed = machine:write(`/etc/systemd/system/{service}.service.d/encanto.conf`, text) or changed
  end
  if changed then
    machine:exec({ "systemctl", "daemon-reload" })
  end
end

return software
