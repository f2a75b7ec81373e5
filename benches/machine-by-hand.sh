#!/bin/bash
# One machine by hand, as somebody makes it who has done it before: what `make bench PARTS=machines` is measured against.
#
#   benches/machine-by-hand.sh lxc|libvirt-lxc|kvm create|start|stop|destroy
#
# `create` and `start` are over when systemd takes orders, of a virtual machine when a command was run in it. With
# libvirt it is made like a machine that is there, from its definition: LIKE and its address. A virtual machine is made by
# virt-install, or, where that is missing, defined and started by virsh.
#
# Environment: NAME, WORK (a folder on a disk), BRIDGE, ADDRESS, PREFIX, GATEWAY; BASE, the root of a Debian bookworm with
# systemd, or LIKE and LIKE_ADDRESS.
set -euo pipefail

kind=$1
verb=$2
ready='until [ -S /run/systemd/private ]; do sleep 0.01; done'
case $kind in
  lxc) uri= ;;
  libvirt-lxc) uri=lxc:/// ;;
  kvm) uri=qemu:///system ;;
esac

root() {
  mkdir -p "$WORK/upper" "$WORK/overlay" "$WORK/root"
  mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$WORK/upper,workdir=$WORK/overlay" "$WORK/root"
}

hypervisor() { virsh -q -c "$uri" "$@"; }

# The definition of the machine that it is to be like, with what is its own in place of the other's.
definition() {
  hypervisor dumpxml --inactive "$LIKE" | sed \
    -e "s/$LIKE/$NAME/g; s/$LIKE_ADDRESS\b/$ADDRESS/g" \
    -e '/<metadata>/,/<\/metadata>/d; /<uuid>/d; /<mac /d' \
    -e "/<interface /,/<\/interface>/{/<target /d}" \
    -e "s|<source dir='[^']*'/>|<source dir='$WORK/root'/>|; s|<source file='[^']*disk[^']*'|<source file='$WORK/disk.qcow2'|" \
    -e "s|\(<log file='\)[^']*|\1$WORK/console.log|"
}

# The text of an element, as the shell wants it.
element() { definition | sed -n "s|.*<$1>\(.*\)</$1>.*|\1|p" | sed "s/&apos;/'/g; s/&quot;/\"/g; s/&amp;/\&/g"; }

agent() { hypervisor qemu-agent-command "$NAME" "$1"; }

answers() {
  until agent '{"execute":"guest-ping"}' > /dev/null 2>&1; do
    [ "$(hypervisor domstate "$NAME")" = running ] || { echo "$NAME has ended" >&2; exit 1; }
    sleep 0.05
  done
  agent '{"execute":"guest-exec","arguments":{"path":"/bin/true"}}' > /dev/null
}

installed() {
  virt-install --connect "$uri" --import --noautoconsole --quiet --name "$NAME" --osinfo detect=off,require=off \
    --virt-type "$(definition | sed -n "s/.*<domain type='\([a-z]*\)'.*/\1/p")" \
    --memory $(($(definition | sed -n "s|.*<memory unit='KiB'>\(.*\)</memory>|\1|p") / 1024)) --vcpus "$(definition | sed -n 's|.*<vcpu[^>]*>\(.*\)</vcpu>|\1|p')" \
    --disk "path=$WORK/disk.qcow2,format=qcow2,bus=virtio" --network "bridge=$BRIDGE,model=virtio" --graphics none \
    --channel unix,target.type=virtio,target.name=org.qemu.guest_agent.0 \
    --boot "kernel=$(element kernel),initrd=$(element initrd),kernel_args=\"$(element cmdline)\""
}

case $kind-$verb in
  lxc-create)
    root
    mkdir -p "/var/lib/lxc/$NAME"
    cat > "/var/lib/lxc/$NAME/config" << END
lxc.include = /usr/share/lxc/config/common.conf
lxc.rootfs.path = dir:$WORK/root
lxc.uts.name = $NAME
lxc.apparmor.profile = unconfined
lxc.hook.post-stop =
lxc.net.0.type = veth
lxc.net.0.link = $BRIDGE
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.net.0.ipv4.address = $ADDRESS/$PREFIX
lxc.net.0.ipv4.gateway = $GATEWAY
END
    lxc-start -n "$NAME" -d
    lxc-attach -n "$NAME" -- sh -c "$ready"
    ;;
  lxc-start)
    lxc-start -n "$NAME" -d
    lxc-attach -n "$NAME" -- sh -c "$ready"
    ;;
  lxc-stop)
    lxc-stop -n "$NAME"
    ;;
  lxc-destroy)
    lxc-stop -n "$NAME" -k || true
    umount "$WORK/root" || true
    rm -rf --one-file-system "$WORK" "/var/lib/lxc/$NAME"
    ;;

  libvirt-lxc-create)
    root
    definition > "$WORK/domain.xml"
    hypervisor define "$WORK/domain.xml"
    hypervisor start "$NAME"
    hypervisor lxc-enter-namespace "$NAME" --noseclabel /bin/sh -c "$ready"
    ;;
  libvirt-lxc-start)
    hypervisor start "$NAME"
    hypervisor lxc-enter-namespace "$NAME" --noseclabel /bin/sh -c "$ready"
    ;;
  libvirt-lxc-stop)
    # There is no clean end but by its init.
    hypervisor destroy "$NAME"
    ;;
  libvirt-lxc-destroy)
    # What failed half-way is removed, too.
    hypervisor destroy "$NAME" || true
    hypervisor undefine "$NAME" || true
    umount "$WORK/root" || true
    rm -rf --one-file-system "$WORK"
    ;;

  kvm-create)
    mkdir -p "$WORK"
    # The disk that all stand on, whatever is between: LIKE may have begun on a template's.
    base=$(qemu-img info -U --backing-chain --output=json "$(hypervisor dumpxml --inactive "$LIKE" | sed -n "s|.*<source file='\([^']*disk[^']*\)'.*|\1|p" | head -n 1)" \
      | sed -n 's/.*"full-backing-filename": "\(.*\)".*/\1/p' | tail -n 1)
    qemu-img create -q -f qcow2 -b "$base" -F raw "$WORK/disk.qcow2"
    if command -v virt-install > /dev/null; then
      installed
    else
      definition > "$WORK/domain.xml"
      hypervisor define "$WORK/domain.xml"
      hypervisor start "$NAME"
    fi
    answers
    ;;
  kvm-start)
    hypervisor start "$NAME"
    answers
    ;;
  kvm-stop)
    # `virsh shutdown` asks a login service, which this lean image has not.
    agent '{"execute":"guest-exec","arguments":{"path":"/bin/systemctl","arg":["--no-block","poweroff"]}}' > /dev/null
    until [ "$(hypervisor domstate "$NAME")" = "shut off" ]; do sleep 0.05; done
    ;;
  kvm-destroy)
    # What failed half-way is removed, too.
    hypervisor destroy "$NAME" || true
    hypervisor undefine "$NAME" || true
    rm -rf "$WORK"
    ;;
  *)
    echo "usage: $0 lxc|libvirt-lxc|kvm create|start|stop|destroy" >&2
    exit 2
    ;;
esac
