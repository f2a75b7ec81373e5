//! The text of an instance's LXC configuration. Pure.

use std::fmt::Write as _;
use std::path::Path;

use crate::provider::local::driver::Wiring;
use crate::provider::local::helper::ID_COUNT;

/// Everything that the configuration depends on.
#[derive(Debug)]
pub struct ContainerConfig<'a> {
    pub name: &'a str,
    pub root: &'a Path,
    pub first_id: u32,
    /// What its console shows is written down there.
    pub console_log: &'a Path,
    pub wiring: &'a Wiring,
    /// Megabytes.
    pub memory: Option<u64>,
    pub cores: Option<u32>,
    pub cgroups: HostCgroups,
}

/// How limits are told to this host's kernel. A key that it does not have would stop the container from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCgroups {
    /// It has cgroup v2 only.
    pub unified: bool,
    /// It can limit swap too.
    pub swap: bool,
}

/// Bytes of a console's log, and of the one before it.
const CONSOLE_SIZE: u32 = 64 << 10;

/// A cfs period in microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;

pub fn render_config(config: &ContainerConfig<'_>) -> String {
    let ContainerConfig { name, first_id, wiring, .. } = config;
    let Wiring { bridge, cable, interface, hardware, address, prefix, gateway } = wiring;
    let (root, console_log) = (config.root.display(), config.console_log.display());
    let mut text = format!(
        "\
lxc.include = /usr/share/lxc/config/common.conf
lxc.include = /usr/share/lxc/config/userns.conf
# The packaged hook sleeps half a second at every stop.
lxc.hook.post-stop =
lxc.uts.name = {name}
lxc.rootfs.path = dir:{root}
lxc.idmap = u 0 {first_id} {ID_COUNT}
lxc.idmap = g 0 {first_id} {ID_COUNT}
lxc.apparmor.profile = unconfined
lxc.signal.halt = SIGRTMIN+3
lxc.tty.max = 0
lxc.console.logfile = {console_log}
lxc.console.size = {CONSOLE_SIZE}
lxc.console.rotate = 1
lxc.net.0.type = veth
lxc.net.0.link = {bridge}
lxc.net.0.veth.pair = {cable}
lxc.net.0.flags = up
lxc.net.0.name = {interface}
lxc.net.0.hwaddr = {hardware}
lxc.net.0.ipv4.address = {address}/{prefix}
lxc.net.0.ipv4.gateway = {gateway}
"
    );
    if let Some(megabytes) = config.memory {
        let bytes = megabytes.saturating_mul(1 << 20);
        let HostCgroups { unified, swap } = config.cgroups;
        let key = if unified { "cgroup2.memory.max" } else { "cgroup.memory.limit_in_bytes" };
        let _ = writeln!(text, "lxc.{key} = {bytes}");
        // Who is over the limit is killed; without this it would fill the host's swap first. Old groups count both.
        match (swap, unified) {
            (false, _) => {}
            (true, true) => text.push_str("lxc.cgroup2.memory.swap.max = 0\n"),
            (true, false) => {
                let _ = writeln!(text, "lxc.cgroup.memory.memsw.limit_in_bytes = {bytes}");
            }
        }
    }
    if let Some(cores) = config.cores {
        let quota = u64::from(cores).saturating_mul(CPU_PERIOD);
        if config.cgroups.unified {
            let _ = writeln!(text, "lxc.cgroup2.cpu.max = {quota} {CPU_PERIOD}");
        } else {
            let _ = writeln!(text, "lxc.cgroup.cpu.cfs_period_us = {CPU_PERIOD}");
            let _ = writeln!(text, "lxc.cgroup.cpu.cfs_quota_us = {quota}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cgroups: HostCgroups) -> String {
        render_config(&ContainerConfig {
            name: "ana-local-machine-1",
            root: Path::new("/var/lib/lxc/ana-local-machine-1/rootfs"),
            first_id: 1_000_000,
            console_log: Path::new("/var/lib/lxc/ana-local-machine-1/console.log"),
            wiring: &Wiring::sample(),
            memory: Some(256),
            cores: Some(2),
            cgroups,
        })
    }

    #[test]
    fn limits_are_written_for_the_cgroups_that_the_host_has() {
        let hybrid = sample(HostCgroups { unified: false, swap: true });
        let memsw = "lxc.cgroup.memory.memsw.limit_in_bytes = 268435456\n";
        assert!(hybrid.find(memsw) > hybrid.find("lxc.cgroup.memory.limit_in_bytes = 268435456\n"), "{hybrid}");
        assert!(hybrid.contains("lxc.cgroup.memory.limit_in_bytes = 268435456\n"));
        assert!(hybrid.contains("lxc.cgroup.cpu.cfs_quota_us = 200000\n"));
        let pure = sample(HostCgroups { unified: true, swap: true });
        assert!(pure.contains("lxc.cgroup2.memory.swap.max = 0\n"));
        assert!(pure.contains("lxc.cgroup2.memory.max = 268435456\n"));
        assert!(pure.contains("lxc.cgroup2.cpu.max = 200000 100000\n"));
        assert!(!pure.contains("lxc.cgroup."));
        for unified in [true, false] {
            assert!(
                !sample(HostCgroups { unified, swap: false }).contains("sw"),
                "a key that the kernel does not have"
            );
        }
    }

    #[test]
    fn the_address_and_the_id_range_are_fixed() {
        let text = sample(HostCgroups { unified: true, swap: false });
        assert!(text.contains("lxc.net.0.ipv4.address = 10.160.0.2/22\n"));
        assert!(text.contains("lxc.net.0.hwaddr = 02:e4:c0:a0:00:02\n"));
        assert!(text.contains("lxc.idmap = u 0 1000000 65536\n"));
    }
}
