//! Looks whether this host can carry machines, and mends what is safe to mend.

pub mod libvirt;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ProviderError;
use super::command::{replace_file, run_blocking};
use super::lxc::idmap;

/// One thing about the host that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFinding {
    /// No machine can be made before it is mended.
    pub blocking: bool,
    pub problem: String,
    /// The shell command that mends it.
    pub fix: Option<String>,
}

/// A program and the Debian package that brings it.
const TOOLS: [(&str, &str); 6] = [
    ("lxc-start", "lxc"),
    ("mmdebstrap", "mmdebstrap"),
    ("dnsmasq", "dnsmasq-base"),
    ("nft", "nftables"),
    ("newuidmap", "uidmap"),
    ("ip", "iproute2"),
];

/// Why a binary has no machines of libvirt's.
pub const WITHOUT_LIBVIRT: &str = "this encanto was built without libvirt";

/// Limits that a few dozen systems on one kernel run into, with what they need at least.
const SYSCTLS: [(&str, u64); 4] = [
    ("fs/inotify/max_user_instances", 8192),
    ("fs/inotify/max_user_watches", 524_288),
    ("kernel/keys/maxkeys", 2000),
    ("kernel/keys/maxbytes", 2_000_000),
];

/// Everything that machines of this kind (`None`: LXC's) need and this host does not have, the blocking first. Who asks
/// does not matter: only `bootstrap` must be root.
pub fn check_host(kind: Option<&str>) -> Vec<HostFinding> {
    let mut findings = Vec::new();
    findings.extend(missing_packages(find_tool));
    findings.extend(id_range(&read("/etc/subuid"), &read("/etc/subgid")));
    findings.extend(kernel());
    findings.extend(low_sysctls());
    findings.extend(firewall());
    // Other kinds need all that LXC needs: layers are made in its containers.
    findings.extend(kind.filter(|kind| libvirt::runs(kind)).map(libvirt::check).unwrap_or_default());
    findings.sort_by_key(|finding| !finding.blocking);
    findings
}

/// Mends what is safe: an id range for root and the kernel's limits. Says what was done, one line each.
pub fn mend_host() -> Result<Vec<String>, ProviderError> {
    let mut done = Vec::new();
    let (subuid, subgid) = (read("/etc/subuid"), read("/etc/subgid"));
    if idmap::root_range(&subuid, &subgid).is_none()
        && let Some(first) = idmap::free_range(&subuid, &subgid)
    {
        for (path, text) in [("/etc/subuid", subuid), ("/etc/subgid", subgid)] {
            let line = grant(first);
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            replace_file(Path::new(path), format!("{text}{gap}{line}\n").as_bytes())?;
            done.push(format!("granted root the ids {line} in {path}"));
        }
    }
    let raised = raise_sysctls()?;
    done.extend(raised.iter().map(|key| format!("raised {key}")));
    Ok(done)
}

/// Raises the limits that are too low, and names them.
pub fn raise_sysctls() -> Result<Vec<String>, ProviderError> {
    let mut raised = Vec::new();
    for (key, least) in SYSCTLS {
        let path = Path::new("/proc/sys").join(key);
        if value(&path).is_some_and(|value| value < least) {
            std::fs::write(&path, least.to_string()).map_err(|source| ProviderError::Io {
                action: "raise",
                path,
                source,
            })?;
            raised.push(key.replace('/', "."));
        }
    }
    Ok(raised)
}

fn missing_packages(is_there: impl Fn(&str) -> bool) -> Option<HostFinding> {
    let missing: Vec<&str> = TOOLS.iter().filter(|(tool, _)| !is_there(tool)).map(|(_, package)| *package).collect();
    packages_missing(&missing)
}

fn packages_missing(missing: &[&str]) -> Option<HostFinding> {
    let names = missing.join(" ");
    let problem = match missing.len() {
        0 => return None,
        1 => format!("the package {names} is missing"),
        _ => format!("the packages {} are missing", missing.join(", ")),
    };
    Some(HostFinding { blocking: true, problem, fix: Some(format!("apt-get install --no-install-recommends {names}")) })
}

fn find_tool(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin").split(':').any(|folder| Path::new(folder).join(tool).exists())
}

fn id_range(subuid: &str, subgid: &str) -> Option<HostFinding> {
    if idmap::root_range(subuid, subgid).is_some() {
        return None;
    }
    let fix = idmap::free_range(subuid, subgid)
        .map(|first| format!("echo {} | tee -a /etc/subuid /etc/subgid", grant(first)));
    Some(HostFinding {
        blocking: true,
        problem: "root has no range of 65536 ids for its machines in /etc/subuid and /etc/subgid".into(),
        fix,
    })
}

fn grant(first: u32) -> String {
    format!("root:{first}:{}", super::local::helper::ID_COUNT)
}

fn kernel() -> Vec<HostFinding> {
    let mut findings = Vec::new();
    if !read("/proc/filesystems").lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        findings.push(blocking("the kernel has no overlay file system", Some("modprobe overlay")));
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    // Since 5.19 overlays accept idmapped layers.
    if kernel_version(&release).is_some_and(|version| version < (5, 19)) {
        let problem = format!("Linux {release} is too old: 5.19 or newer is needed for idmapped overlays");
        findings.push(HostFinding { blocking: true, problem, fix: None });
    }
    if !Path::new("/proc/self/ns/user").exists() {
        findings.push(blocking("the kernel has no user namespaces", None));
    } else if value(Path::new("/proc/sys/user/max_user_namespaces")) == Some(0) {
        findings.push(blocking("user namespaces are switched off", Some("sysctl -w user.max_user_namespaces=15000")));
    }
    if !read("/proc/self/mounts").lines().any(|line| line.contains(" /sys/fs/cgroup") && line.contains("cgroup")) {
        let fix = "mount -t cgroup2 cgroup2 /sys/fs/cgroup";
        findings.push(blocking("no cgroups are mounted on /sys/fs/cgroup", Some(fix)));
    }
    findings
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn low_sysctls() -> Option<HostFinding> {
    let low: Vec<(String, u64)> = SYSCTLS
        .iter()
        .filter(|(key, least)| value(&Path::new("/proc/sys").join(key)).is_some_and(|value| value < *least))
        .map(|(key, least)| (key.replace('/', "."), *least))
        .collect();
    let names: Vec<&str> = low.iter().map(|(key, _)| key.as_str()).collect();
    let settings: Vec<String> = low.iter().map(|(key, least)| format!("{key}={least}")).collect();
    (!low.is_empty()).then(|| HostFinding {
        blocking: false,
        problem: format!(
            "limits of the kernel allow only about 20 machines: {} (raised at bootstrap)",
            names.join(", ")
        ),
        fix: Some(format!("sysctl -w {}", settings.join(" "))),
    })
}

fn firewall() -> Option<HostFinding> {
    let rules = run_blocking(&["nft", "list", "chains"]).unwrap_or_default();
    drops_forwarded(&String::from_utf8_lossy(&rules)).then(|| HostFinding {
        blocking: false,
        problem: "another firewall on this host drops forwarded packets: machines may not reach the outside, nor be \
                  reached (Docker and ufw do so)"
            .into(),
        fix: Some("iptables -I FORWARD -i 'enc+' -j ACCEPT; iptables -I FORWARD -o 'enc+' -j ACCEPT".into()),
    })
}

/// Whether a chain other than ours drops what it does not know.
fn drops_forwarded(chains: &str) -> bool {
    let mut ours = false;
    for line in chains.lines() {
        if let Some(table) = line.strip_prefix("table ") {
            ours = table.split_whitespace().nth(1).is_some_and(|name| name.starts_with("encanto_"));
        } else if !ours && line.contains("hook forward") && line.contains("policy drop") {
            return true;
        }
    }
    false
}

fn blocking(problem: &str, fix: Option<&str>) -> HostFinding {
    HostFinding { blocking: true, problem: problem.into(), fix: fix.map(str::to_owned) }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn value(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_packages_are_told_in_one_command() {
        assert_eq!(missing_packages(|_| true), None);
        let found = missing_packages(|tool| tool == "ip" || tool == "nft").unwrap();
        assert_eq!(found.problem, "the packages lxc, mmdebstrap, dnsmasq-base, uidmap are missing");
        let fix = found.fix.unwrap();
        assert_eq!(fix, "apt-get install --no-install-recommends lxc mmdebstrap dnsmasq-base uidmap");
    }

    #[test]
    fn a_host_without_a_range_gets_a_command_that_grants_one() {
        let found = id_range("ana:100000:65536\n", "").unwrap();
        assert_eq!(found.fix.unwrap(), "echo root:1000000:65536 | tee -a /etc/subuid /etc/subgid");
        assert_eq!(id_range("root:5:65536\n", "root:5:65536\n"), None);
    }

    #[test]
    fn only_a_foreign_chain_that_drops_is_a_finding() {
        let chain = "\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        assert!(drops_forwarded(&format!("table ip filter {{\n{chain}")));
        assert!(!drops_forwarded(&format!("table ip encanto_x {{\n{chain}")));
        assert!(!drops_forwarded(&format!("table ip filter {{\n{}", chain.replace("drop", "accept"))));
    }

    #[test]
    fn the_kernel_version_is_read_from_any_release_text() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.19"), Some((5, 19)));
    }
}
