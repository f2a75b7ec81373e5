#!/bin/sh
# with_libvirtd.sh COMMAND…   runs a command while libvirt runs; what had to be started for it is ended with it
#
# Mends what keeps libvirt from working on a host without systemd, as `encanto doctor` tells it to operators.
set -eu

started=""

finish() {
    for daemon in $started; do
        kill "$(cat "/run/$daemon.pid")" 2>/dev/null || true
    done
}

answers() {
    virsh -q -c lxc:/// list >/dev/null 2>&1 && virsh -q -c qemu:///system list >/dev/null 2>&1
}

start() {
    if [ -d /run/systemd/system ]; then
        systemctl start libvirtd
        return
    fi
    # virtlogd keeps what virtual machines write on their consoles.
    for daemon in virtlogd libvirtd; do
        pid=$(cat "/run/$daemon.pid" 2>/dev/null || true)
        [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && continue
        "$daemon" --daemon
        started="$daemon $started"
    done
}

# As udev would make it: else libvirt looks for KVM again at every start of a machine, for 4 s.
if [ -c /dev/kvm ] && [ "$(stat -c %a /dev/kvm)" = 600 ]; then
    chgrp kvm /dev/kvm && chmod 660 /dev/kvm
fi
# Beside the old cgroups libvirt takes the new ones only if they have no controllers.
if [ -f /sys/fs/cgroup/unified/cgroup.controllers ]; then
    for controller in $(cat /sys/fs/cgroup/unified/cgroup.controllers); do
        mkdir -p "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
    done
fi
if ! answers; then
    trap finish EXIT
    trap 'exit 130' INT TERM
    start
    tries=0
    until answers; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || { echo "libvirt does not answer" >&2; exit 1; }
        sleep 0.2
    done
fi
"$@"
