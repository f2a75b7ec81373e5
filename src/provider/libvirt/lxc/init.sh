# libvirt's own cannot be read again by who keeps it open, as `free`, `ps` and `top` do. Without it they see the host's.
umount /proc/meminfo 2>/dev/null

# Without systemd-machined libvirt leaves a container in the host's top group of most hierarchies, where its systemd
# would take the host's groups for its own. $0 is the group that it gets there; the arguments are the real init.
top=/sys/fs/cgroup
umount -R $top
while IFS=: read -r number controllers path; do
    [ "$path" = / ] || continue
    if [ "$number" = 0 ]; then mount -t cgroup2 none $top; else mount -t cgroup -o "$controllers" none $top; fi || continue
    mkdir -p "$top/$0"
    # A group without these two takes no process.
    for file in cpuset.cpus cpuset.mems; do
        [ ! -f $top/$file ] || cat $top/$file >"$top/$0/$file"
    done
    echo 0 >"$top/$0/cgroup.procs"
    umount $top
done </proc/self/cgroup
exec unshare --cgroup "$@"
