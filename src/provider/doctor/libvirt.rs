//! What machines by libvirt need besides, and what spoils them. Looked for only where an environment has such a kind.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{HostFinding, blocking, find_tool, packages_missing, read};
use crate::provider::systemd;

/// Whether this kind of machines is run by libvirt.
pub fn runs(kind: &str) -> bool {
    matches!(kind, CONTAINER | MACHINE)
}

const CONTAINER: &str = "libvirt-lxc";
const MACHINE: &str = "kvm";

/// What is there of what libvirt's kinds need.
struct Facts {
    built_in: bool,
    systemd: bool,
    missing: Vec<&'static str>,
    daemon_answers: bool,
    /// Permission bits and group of `/dev/kvm`.
    kvm: Option<(u32, u32)>,
    mixed_groups: Option<HostFinding>,
}

/// Everything that machines of this kind need and this host does not have.
pub fn check(kind: &str) -> Vec<HostFinding> {
    let data = std::fs::metadata("/dev/kvm").ok();
    let facts = Facts {
        built_in: cfg!(feature = "libvirt"),
        systemd: systemd::runs(),
        missing: missing(kind),
        daemon_answers: sockets(kind).iter().any(|socket| UnixStream::connect(socket).is_ok()),
        kvm: data.map(|data| (data.mode() & 0o777, data.gid())),
        mixed_groups: mixed_groups(),
    };
    judge(kind, facts)
}

fn judge(kind: &str, facts: Facts) -> Vec<HostFinding> {
    if !facts.built_in {
        let fix = "apt-get install libvirt-dev pkg-config && make";
        return vec![blocking(super::WITHOUT_LIBVIRT, Some(fix))];
    }
    let mut findings = Vec::new();
    findings.extend(packages_missing(&facts.missing));
    if facts.missing.is_empty() && !facts.daemon_answers {
        let fix = match (facts.systemd, kind) {
            (true, _) => "systemctl start libvirtd",
            (false, MACHINE) => "virtlogd --daemon; libvirtd --daemon",
            (false, _) => "libvirtd --daemon",
        };
        findings.push(blocking("libvirt is not running", Some(fix)));
    }
    if kind == MACHINE {
        findings.extend(facts.kvm.and_then(closed_kvm));
    } else {
        findings.extend(facts.mixed_groups);
    }
    findings
}

fn sockets(kind: &str) -> [&'static str; 2] {
    let own = if kind == CONTAINER { "/run/libvirt/virtlxcd-sock" } else { "/run/libvirt/virtqemud-sock" };
    ["/run/libvirt/libvirt-sock", own]
}

/// Packages, by what is to be found of them.
fn missing(kind: &str) -> Vec<&'static str> {
    let daemon = ["libvirtd", "virtlxcd", "virtqemud"].into_iter().any(find_tool);
    let mut needed = vec![(daemon, "libvirt-daemon-system")];
    if kind == CONTAINER {
        needed.push((Path::new("/usr/lib/libvirt/libvirt_lxc").exists(), "libvirt-daemon-driver-lxc"));
    } else {
        let emulator = format!("qemu-system-{}", std::env::consts::ARCH);
        needed.push((driver_exists("libvirt_driver_qemu.so"), "libvirt-daemon-driver-qemu"));
        needed.push((find_tool(&emulator), EMULATOR_PACKAGE));
    }
    needed.into_iter().filter(|(is_there, _)| !is_there).map(|(_, package)| package).collect()
}

const EMULATOR_PACKAGE: &str = if cfg!(target_arch = "aarch64") { "qemu-system-arm" } else { "qemu-system-x86" };

fn driver_exists(file: &str) -> bool {
    let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [triplet.as_str(), "/usr/lib64", "/usr/lib"]
        .iter()
        .any(|folder| Path::new(folder).join("libvirt/connection-driver").join(file).exists())
}

/// libvirt finds KVM as root and then not as the user that machines run as, forgets all that it found, and looks again.
fn closed_kvm((mode, group): (u32, u32)) -> Option<HostFinding> {
    let open = mode & 0o006 == 0o006 || (mode & 0o060 == 0o060 && group != 0);
    (!open).then(|| HostFinding {
        blocking: false,
        problem: format!("/dev/kvm has mode {mode:04o}: each start of a virtual machine takes 4 s longer"),
        fix: Some("chgrp kvm /dev/kvm && chmod 660 /dev/kvm".into()),
    })
}

/// Beside the old cgroups libvirt takes the new ones only if they have no controllers; with some it starts no container.
pub fn mixed_groups() -> Option<HostFinding> {
    mixed(&read("/sys/fs/cgroup/unified/cgroup.controllers"))
}

fn mixed(controllers: &str) -> Option<HostFinding> {
    let controllers: Vec<&str> = controllers.split_whitespace().collect();
    let mounts = controllers.iter().map(|controller| {
        let folder = format!("/sys/fs/cgroup/{controller}");
        format!("mkdir -p {folder} && mount -t cgroup -o {controller} cgroup {folder}")
    });
    let fix = mounts.collect::<Vec<_>>().join(" && ");
    (!controllers.is_empty()).then(|| {
        let names = controllers.join(", ");
        let problem = format!(
            "libvirt starts no container while /sys/fs/cgroup/unified has controllers ({names}) beside the old cgroups"
        );
        HostFinding { blocking: true, problem, fix: Some(fix) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            built_in: true,
            systemd: true,
            missing: Vec::new(),
            daemon_answers: true,
            kvm: Some((0o660, 107)),
            mixed_groups: None,
        }
    }

    fn fixes(kind: &str, facts: Facts) -> Vec<String> {
        judge(kind, facts).into_iter().filter_map(|finding| finding.fix).collect()
    }

    #[test]
    fn a_host_that_has_it_all_is_well() {
        assert_eq!(judge(CONTAINER, well()), []);
        assert_eq!(judge(MACHINE, well()), []);
        assert_eq!(judge(MACHINE, Facts { kvm: None, ..well() }), [], "without the device machines are emulated");
    }

    #[test]
    fn a_daemon_is_started_as_the_host_starts_daemons() {
        let silent = || Facts { daemon_answers: false, ..well() };
        assert_eq!(fixes(CONTAINER, silent()), ["systemctl start libvirtd"]);
        assert_eq!(fixes(CONTAINER, Facts { systemd: false, ..silent() }), ["libvirtd --daemon"]);
        assert_eq!(fixes(MACHINE, Facts { systemd: false, ..silent() }), ["virtlogd --daemon; libvirtd --daemon"]);
    }

    #[test]
    fn what_is_not_installed_cannot_run_yet() {
        let facts = Facts { missing: vec!["libvirt-daemon-driver-lxc"], daemon_answers: false, ..well() };
        assert_eq!(fixes(CONTAINER, facts), ["apt-get install --no-install-recommends libvirt-daemon-driver-lxc"]);
    }

    #[test]
    fn a_closed_device_is_told_to_those_who_use_it() {
        let closed = || Facts { kvm: Some((0o600, 0)), ..well() };
        let found = judge(MACHINE, closed());
        assert!(found[0].problem.contains("mode 0600") && !found[0].blocking, "{found:?}");
        assert_eq!(judge(CONTAINER, closed()), []);
        assert_eq!(closed_kvm((0o666, 0)), None);
    }

    #[test]
    fn mixed_cgroups_keep_containers_only() {
        assert_eq!(mixed("\n"), None);
        let found = || mixed("hugetlb rdma\n");
        assert!(found().is_some_and(|finding| finding.blocking && finding.problem.contains("(hugetlb, rdma)")));
        let fix = "mkdir -p /sys/fs/cgroup/hugetlb && mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb && ";
        assert!(found().is_some_and(|finding| finding.fix.unwrap_or_default().starts_with(fix)));
        assert_eq!(judge(MACHINE, Facts { mixed_groups: found(), ..well() }), []);
        assert_eq!(judge(CONTAINER, Facts { mixed_groups: found(), ..well() }).len(), 1);
    }

    #[test]
    fn a_binary_without_libvirt_says_so_and_nothing_else() {
        let found = judge(CONTAINER, Facts { built_in: false, daemon_answers: false, ..well() });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].problem, super::super::WITHOUT_LIBVIRT);
    }
}
