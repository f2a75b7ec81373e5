#!/bin/bash
# A wiki and its database in two LXC containers, by hand: the baseline that `encanto` is measured against.
#
#   benches/wiki-by-hand.sh BASE
#
# BASE is the root of a Debian bookworm with systemd (the image that encanto keeps will do); it is not changed.
# From there to HTTP 200 of the wiki's main page, as an administrator who has done it before would write it: both
# containers boot, download and install at the same time, no recommended packages, no waiting for the disk, the
# database is ready long before it is needed. Prints when each step was done, in seconds, and cleans up after itself.
#
# Needs root, lxc, nftables and curl. Environment: WORK (a folder on a disk), BRIDGE, SUBNET (first three numbers).
set -euo pipefail

base=${1:-${BASE:-}}
[ -d "$base/etc/apt" ] || { echo "usage: $0 BASE, the root of a Debian bookworm with systemd" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 2; }
base=$(realpath "$base")
bridge=${BRIDGE:-byhand0}
subnet=${SUBNET:-10.219.219}
work=$(mktemp -d "${WORK:-/var/tmp}/wiki-by-hand.XXXXXX")
db=$subnet.2
web=$subnet.3
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
forwarding=$(cat /proc/sys/net/ipv4/ip_forward)

clean_up() {
  status=$?
  trap - EXIT INT TERM
  set +e
  # What still installs in a container ends with it.
  for name in db web; do
    lxc-stop -P "$work/lxc" -n "$name" -k 2>/dev/null
    umount "$work/$name/root" 2>/dev/null
  done
  wait
  if [ "$status" != 0 ]; then
    tail -n 20 "$work"/*.log >&2
  fi
  nft delete table ip "$bridge" 2>/dev/null
  ip link delete "$bridge" 2>/dev/null
  echo "$forwarding" > /proc/sys/net/ipv4/ip_forward
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

elapsed() { awk -v since="$started" -v now="$EPOCHREALTIME" 'BEGIN { printf "%.1f", now - since }'; }
report() { printf '%6s s  %s\n' "$(elapsed)" "$1"; }

# Each line with the time at which it came.
timed() { while IFS= read -r line; do printf '%s %s\n' "$EPOCHREALTIME" "$line"; done; }

# When the phases of an installation began, from its timed log.
phases() {
  awk -v since="$started" -v name="$1" '
    function tell(what) { printf "%6.1f s  %s: %s\n", $1 - since, name, what }
    /Get:1 / && !get++ { tell("packages chosen") }
    / Fetched / && !fetched++ { tell("downloaded") }
    / Setting up / && !setting++ { tell("unpacked") }
    / Setting up | triggers for / { last = $1 }
    END { printf "%6.1f s  %s: last package begun\n", last - since, name }
  ' "$work/$1.log"
}

inside() {
  local name=$1
  shift
  lxc-attach -P "$work/lxc" -n "$name" --clear-env -v PATH=/usr/sbin:/usr/bin:/sbin:/bin -v HOME=/root -v LANG=C.UTF-8 \
    -v DEBIAN_FRONTEND=noninteractive -- "$@"
}

network() {
  ip link add "$bridge" type bridge
  ip address add "$subnet.1/24" dev "$bridge"
  ip link set "$bridge" up
  echo 1 > /proc/sys/net/ipv4/ip_forward
  nft -f - << END
table ip $bridge {
  chain post {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr $subnet.0/24 ip daddr != $subnet.0/24 masquerade
  }
}
END
}

boot() {
  local name=$1 address=$2 folder=$work/$1
  mkdir -p "$folder/upper/etc" "$folder/overlay" "$folder/root" "$work/lxc/$name"
  mount -t overlay overlay -o "lowerdir=$base,upperdir=$folder/upper,workdir=$folder/overlay,volatile" "$folder/root"
  rm -f "$folder/root/etc/resolv.conf"
  if [ -s /run/systemd/resolve/resolv.conf ]; then
    cp /run/systemd/resolve/resolv.conf "$folder/root/etc/resolv.conf"
  else
    cp -L /etc/resolv.conf "$folder/root/etc/resolv.conf"
  fi
  cat > "$work/lxc/$name/config" << END
lxc.include = /usr/share/lxc/config/common.conf
lxc.rootfs.path = dir:$folder/root
lxc.uts.name = $name
lxc.apparmor.profile = unconfined
lxc.hook.post-stop =
lxc.net.0.type = veth
lxc.net.0.link = $bridge
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.net.0.ipv4.address = $address/24
lxc.net.0.ipv4.gateway = $subnet.1
END
  lxc-start -P "$work/lxc" -n "$name" -d
  inside "$name" sh -c 'until [ -S /run/systemd/private ]; do sleep 0.02; done; systemctl is-system-running --wait || true' \
    > /dev/null
}

install() {
  local name=$1
  shift
  if ! ls "$work/$name/root/var/lib/apt/lists/"*_Packages* > /dev/null 2>&1; then
    inside "$name" apt-get update -q
  fi
  inside "$name" apt-get -q -y -o DPkg::Options::=--force-unsafe-io --no-install-recommends install "$@"
}

database() {
  # Its address is known before the package is there, so the server starts once and is right.
  mkdir -p "$work/db/root/etc/mysql/mariadb.conf.d"
  printf '[mysqld]\nbind-address = %s\nskip-name-resolve\n' "$db" > "$work/db/root/etc/mysql/mariadb.conf.d/90-wiki.cnf"
  install db mariadb-server
  inside db mariadb << END
CREATE DATABASE wiki;
CREATE USER wiki@'$web' IDENTIFIED BY '$password';
GRANT ALL PRIVILEGES ON wiki.* TO wiki@'$web';
END
}

wiki() {
  install web mediawiki apache2 libapache2-mod-php php-cli php-apcu
}

finish() {
  inside web php /usr/share/mediawiki/maintenance/install.php --confpath /etc/mediawiki --scriptpath /mediawiki \
    --server "http://$web" --dbtype mysql --dbserver "$db" --dbname wiki --dbuser wiki --dbpass "$password" \
    --pass "$password" Wiki Admin
  inside web chgrp www-data /etc/mediawiki/LocalSettings.php
}

started=$EPOCHREALTIME
network
boot db "$db" &
booting=$!
boot web "$web"
wait "$booting"
report "containers booted"

{ database 2>&1 | timed > "$work/db.log" && report "database ready"; } &
database=$!
wiki 2>&1 | timed > "$work/web.log"
report "web packages installed"
wait "$database"
finish > "$work/finish.log" 2>&1
report "wiki installed"
until [ "$(curl -sL -o "$work/page" -w '%{http_code}' "http://$web/mediawiki/")" = 200 ]; do
  sleep 0.05
done
grep -q 'MediaWiki has been installed' "$work/page"
report "HTTP 200 of the main page"
phases db
phases web
