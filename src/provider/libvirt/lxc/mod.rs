//! Machines as containers of libvirt.
//!
//! [`domain`] says what one is, `init.sh` runs before its systemd, [`daemon`] shows its root to libvirt. All else is what
//! containers of every kind have in common ([`crate::provider::local::container`]).
//!
//! # Limits
//! They are privileged: systemd does not start in a user namespace of libvirt's. Root in one is the host's root, kept
//! apart by namespaces, its devices group and fewer capabilities only; there is no seccomp filter. What enters them from
//! the host has no more capabilities than their init.

mod daemon;
mod domain;
mod foreign;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::process::Signal;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE;

use self::domain::{Host, own_group, render_domain};
use super::connection::{Hypervisor, absent_is_none, each};
use super::ownership::Owner;
use crate::provider::command::replace_file;
use crate::provider::local::LocalSettings;
use crate::provider::local::container::cgroups::{remove_groups, remove_groups_below};
use crate::provider::local::container::{ContainerDriver, Disk, Runtime};
use crate::provider::local::driver::Machine;
use crate::provider::local::hardware::host_hardware;
use crate::provider::local::process::Process;
use crate::provider::local::record::folder_entries;
use crate::provider::local::turn::{Turn, to_the_end};
use crate::provider::{Foreign, InstanceName, Kind, ProviderError};

pub const KIND: Kind = Kind {
    name: "libvirt-lxc",
    noun: "libvirt container",
    container: "lxc",
    caution: Some("privileged: its root is the host's root, with fewer capabilities and devices"),
};

pub type LibvirtLxcDriver = ContainerDriver<LibvirtLxc>;

/// How often an init that is deaf yet is asked to end.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// A driver for libvirt's containers. Connects to nothing yet.
pub fn driver(settings: &LocalSettings) -> LibvirtLxcDriver {
    let hypervisor = Hypervisor::new(&settings.lxc_uri);
    let owner = Owner::new(settings.digest());
    ContainerDriver::new(LibvirtLxc { settings: settings.clone(), hypervisor, owner }, settings.clone())
}

/// libvirt's driver for containers, on this host.
pub struct LibvirtLxc {
    settings: LocalSettings,
    hypervisor: Hypervisor,
    owner: Owner,
}

impl LibvirtLxc {
    fn disk<'a>(&'a self, machine: &'a Machine) -> Disk<'a> {
        Disk::new(&self.settings, &self.settings.filesystems_path, machine)
    }

    /// Does work with the machine's domain if there is one. One that was adopted is somebody's.
    async fn domain<T: Send + 'static>(
        &self,
        machine: &Machine,
        work: impl Fn(&Domain) -> Result<T, Error> + Send + 'static,
    ) -> Result<Option<T>, ProviderError> {
        let owner = if machine.is_guest() { Owner::nobody() } else { self.owner.clone() };
        self.hypervisor.domain((machine.label(), &owner), work).await
    }

    async fn watched_init(&self, machine: &Machine) -> Result<Option<Process>, ProviderError> {
        // One that ended meanwhile cannot be watched.
        Ok(self.init(machine).await?.and_then(|pid| Process::watch(pid).ok()))
    }
}

#[async_trait]
impl Runtime for LibvirtLxc {
    fn kind(&self) -> Kind {
        KIND
    }

    fn home(&self) -> &Path {
        &self.settings.filesystems_path
    }

    fn first_id(&self) -> Result<Option<u32>, ProviderError> {
        Ok(None)
    }

    async fn open(&self) -> Result<(), ProviderError> {
        daemon::check_groups()?;
        self.hypervisor.call(Connect::get_lib_version).await.map(drop)
    }

    async fn knows(&self, machine: &Machine) -> Result<bool, ProviderError> {
        Ok(self.domain(machine, |_| Ok(())).await?.is_some())
    }

    async fn start(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        if machine.is_guest() {
            return self.start_guest(machine, turn).await;
        }
        let disk = self.disk(machine);
        let hardware = host_hardware();
        let counts_swap = Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
        let host = Host { memory: hardware.memory, cores: hardware.cores, counts_swap };
        let xml = render_domain((machine, &self.owner), &disk.root(), host);
        // For whoever looks at the machine's folder.
        replace_file(&disk.configuration(), xml.as_bytes())?;
        daemon::show(&self.settings, self.hypervisor.uri(), &disk.root()).await?;
        let (hypervisor, owner, name) = (self.hypervisor.clone(), self.owner.clone(), machine.label().to_owned());
        let begun = async move {
            // Before anything is defined: libvirt would change whatever bears the name.
            hypervisor.domain((name.as_str(), &owner), |_| Ok(())).await?;
            hypervisor.call(move |connection| begin(connection, &xml)).await
        };
        to_the_end(turn, begun).await
    }

    fn ended_at_once(&self, machine: &Machine) -> ProviderError {
        let log = log_file(machine);
        let words = format!("the domain {} ended at once", machine.label());
        ProviderError::Libvirt { words, remedy: Some(format!("`tail {}` tells more", log.display())) }
    }

    async fn stop(&self, machine: &Machine, limit: Option<Duration>) -> Result<(), ProviderError> {
        if let Some(init) = self.watched_init(machine).await? {
            end_init(machine, &init, limit).await?;
        }
        // libvirt itself asks in ways that systemd does not hear, and waits for it. This only clears away.
        self.domain(machine, |domain| not_running_is_fine(domain.destroy())).await?;
        if machine.is_guest() {
            return Ok(());
        }
        remove_groups(&own_group(machine.label()));
        daemon::hide(self.hypervisor.uri(), &self.disk(machine).root()).await
    }

    async fn forget(&self, machine: &Machine) -> Result<(), ProviderError> {
        self.domain(machine, |domain| absent_is_none(domain.undefine())).await?;
        remove_groups(&own_group(machine.label()));
        // libvirt gives its own up when a process in one takes its time to end.
        remove_groups_below("machine", |group| is_group_of(machine.label(), group));
        remove_leavings(machine);
        Ok(())
    }

    async fn running(&self) -> Result<BTreeSet<String>, ProviderError> {
        let names = |connection: &Connect| {
            connection.list_all_domains(VIR_CONNECT_LIST_DOMAINS_ACTIVE)?.iter().map(Domain::get_name).collect()
        };
        self.hypervisor.call(names).await
    }

    /// libvirt keeps nothing of what a container's terminal shows.
    fn console_log(&self, _machine: &Machine) -> Option<PathBuf> {
        None
    }

    /// A domain's id is the process that holds the container; init is its only child.
    async fn init(&self, machine: &Machine) -> Result<Option<i32>, ProviderError> {
        let id = self.domain(machine, |domain| Ok(domain.get_id())).await?.flatten();
        Ok(id.and_then(first_child))
    }

    async fn named(&self, prefix: &str) -> Result<Vec<InstanceName>, ProviderError> {
        let owner = self.owner.clone();
        let ours = move |connection: &Connect| {
            each(connection, 0, |domain| owner.owns(domain)?.then(|| domain.get_name()).transpose())
        };
        let mut names: BTreeSet<String> = self.hypervisor.call(ours).await?.into_iter().collect();
        names.extend(folder_entries(&self.settings.filesystems_path)?);
        // What is no instance name was not made here.
        let names = names.into_iter().filter(|name| name.starts_with(prefix));
        Ok(names.filter_map(|name| InstanceName::new(name).ok()).collect())
    }

    async fn foreign(&self, prefix: &str) -> Result<Vec<Foreign>, ProviderError> {
        self.others(prefix).await
    }

    /// There is nothing beside it.
    async fn forget_guest(&self, _machine: &Machine) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// Defines the domain as it shall be now, and starts it unless it runs.
fn begin(connection: &Connect, xml: &str) -> Result<(), Error> {
    let domain = Domain::define_xml(connection, xml)?;
    match domain.create() {
        // The start of a controller that was killed may have come first.
        Err(_) if domain.is_active().unwrap_or(false) => Ok(()),
        done => done.map(drop),
    }
}

fn not_running_is_fine(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if error.code() == ErrorNumber::OperationInvalid => Ok(()),
        done => done,
    }
}

/// Has systemd end the machine within the limit; kills it afterwards, or at once without one.
async fn end_init(machine: &Machine, init: &Process, limit: Option<Duration>) -> Result<(), ProviderError> {
    let begun = Instant::now();
    let refused =
        |source: rustix::io::Errno| ProviderError::Enter { name: machine.name.clone(), source: source.into() };
    while let Some(left) = limit.and_then(|limit| limit.checked_sub(begun.elapsed())) {
        init.ask_to_halt().map_err(refused)?;
        if tokio::time::timeout(left.min(ASKED_AGAIN), init.ended()).await.is_ok() {
            return Ok(());
        }
    }
    init.signal(Signal::KILL).map_err(refused)?;
    init.ended().await;
    Ok(())
}

fn first_child(process: u32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The log, and what libvirt made to hang the container's devices on. Best effort: they are empty, and made again for a
/// domain of the same name.
fn remove_leavings(machine: &Machine) {
    let _ = std::fs::remove_file(log_file(machine));
    let left = |kind: &str| Path::new("/run/libvirt/lxc").join(format!("{}.{kind}", machine.label()));
    let _ = std::fs::remove_file(left("sock"));
    for folder in ["dev", "devpts", "fuse"] {
        let _ = std::fs::remove_dir(left(folder));
    }
}

/// Whether libvirt names the group of a container so: with the number of its process.
fn is_group_of(name: &str, group: &str) -> bool {
    let numbered = group.strip_prefix("lxc-").and_then(|rest| rest.strip_suffix(".libvirt-lxc")?.split_once('-'));
    numbered.is_some_and(|(number, of)| number.bytes().all(|byte| byte.is_ascii_digit()) && of == name)
}

fn log_file(machine: &Machine) -> PathBuf {
    Path::new("/var/log/libvirt/lxc").join(format!("{}.log", machine.label()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_libvirts_is_known_by_its_container() {
        assert!(is_group_of("web", "lxc-29932-web.libvirt-lxc"));
        for other in ["lxc-29932-my-web.libvirt-lxc", "lxc-29932-web-1.libvirt-lxc", "qemu-3-web.libvirt-qemu", "web"] {
            assert!(!is_group_of("web", other), "{other}");
        }
    }
}
