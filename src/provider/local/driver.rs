//! What each kind of local machine does in its own way. All else, [`super::LocalProvider`] does for every kind alike:
//! addresses, names, firewall, records, images, layers, turns, copies.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::record::InstanceRecord;
use super::turn::Turn;
use crate::provider::{
    ExecRequest, Execution, FileStat, Foreign, Hardware, InstanceName, Kind, Origin, ProviderError, WriteOptions,
};

/// An instance as a driver is told of it.
#[derive(Clone, Debug)]
pub struct Machine {
    pub name: InstanceName,
    pub record: InstanceRecord,
    pub wiring: Wiring,
}

impl Machine {
    /// What the hypervisor calls it: an adopted one keeps its own name.
    pub fn label(&self) -> &str {
        match &self.record.origin {
            Some(Origin::Named(name)) => name,
            Some(Origin::Folder(_)) | None => self.name.as_str(),
        }
    }

    /// Whether it was there before and is somebody's, with a network of its own.
    pub fn is_guest(&self) -> bool {
        matches!(self.record.origin, Some(Origin::Named(_)))
    }
}

/// How a machine is connected.
#[derive(Clone, Debug)]
pub struct Wiring {
    pub bridge: String,
    /// Name of the host's end of the cable: a veth or tap.
    pub cable: String,
    /// Name of the machine's own end: one that was adopted has an `eth0` already.
    pub interface: String,
    /// Hardware address of the machine's own end.
    pub hardware: String,
    pub address: Ipv4Addr,
    pub prefix: u8,
    /// The bridge's own address: gateway and name server.
    pub gateway: Ipv4Addr,
}

#[cfg(test)]
impl Wiring {
    pub fn sample() -> Self {
        Self {
            bridge: "enc0".into(),
            cable: "ve1".into(),
            interface: "eth0".into(),
            hardware: "02:e4:c0:a0:00:02".into(),
            address: Ipv4Addr::new(10, 160, 0, 2),
            prefix: 22,
            gateway: Ipv4Addr::new(10, 160, 0, 1),
        }
    }
}

/// What an image must be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flavour {
    /// A root for a container.
    Container,
    /// The same with a kernel and a guest agent.
    Machine,
}

/// A kind of machines on this host.
///
/// The caller holds the instance's turn in every call with a [`Turn`], and in [`Driver::make`], [`Driver::halt`],
/// [`Driver::end`], [`Driver::pause`], [`Driver::resume`]. Every call may be repeated, also after a crash in its middle,
/// and may find that somebody stopped or deleted the instance by hand.
#[async_trait]
pub trait Driver: Send + Sync {
    fn kind(&self) -> Kind;

    fn flavour(&self) -> Flavour;

    /// What the machine has: as its record says, or, of one that is somebody's, as he gave it. It runs.
    async fn hardware(&self, machine: &Machine) -> Result<Hardware, ProviderError>;

    /// Whether the hypervisor is there and answers.
    ///
    /// # Errors
    /// In its own words, and what to do.
    async fn open(&self) -> Result<(), ProviderError>;

    /// Ends what the driver does beside its machines; they may live on.
    async fn close(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Whether everything of the instance is on disk and known to the hypervisor.
    async fn is_made(&self, machine: &Machine) -> Result<bool, ProviderError>;

    /// Puts the instance on disk, what says that it is whole last. With a `seed`, the [`Driver::data`] of another machine
    /// of this kind, it gets a copy of that ([`super::copies::copy`]) with name, address and machine id of its own.
    async fn make(&self, machine: &Machine, seed: Option<&Path>) -> Result<(), ProviderError>;

    /// Mounts and starts the instance unless it runs, and waits until it takes orders.
    async fn begin(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError>;

    /// Shuts the machine down, after a while by force; nothing if it does not run.
    async fn halt(&self, machine: &Machine) -> Result<(), ProviderError>;

    /// Ends it at once and removes all of it but the record. What was adopted is released.
    async fn end(&self, machine: &Machine) -> Result<(), ProviderError>;

    /// Names of everything of this kind that runs on the host, whoever made it.
    async fn running(&self) -> Result<BTreeSet<String>, ProviderError>;

    /// Names of everything of this kind on the host that bears the prefix: ours, though no record may know it.
    async fn named(&self, prefix: &str) -> Result<Vec<InstanceName>, ProviderError>;

    /// Returns when the instance does not run, at once if so; a restart from inside it is no end. May be dropped.
    async fn ended(&self, machine: &Machine);

    /// Whether a machine that runs should have its cable by now: one that restarts itself has none for a moment.
    async fn expects_cable(&self, machine: &Machine) -> bool;

    /// Gives a running machine a new cable in place of one that was deleted. The caller connects its host's end.
    async fn lay_cable(&self, machine: &Machine) -> Result<(), ProviderError>;

    async fn exec(&self, machine: &Machine, request: ExecRequest) -> Result<Execution, ProviderError>;

    async fn read_file(&self, machine: &Machine, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError>;

    async fn write_file(
        &self,
        machine: &Machine,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError>;

    async fn stat_file(&self, machine: &Machine, path: &str) -> Result<Option<FileStat>, ProviderError>;

    async fn remove_file(&self, machine: &Machine, path: &str) -> Result<(), ProviderError>;

    async fn console(&self, machine: &Machine, terminal: (u16, u16)) -> Result<Execution, ProviderError>;

    /// The machine's own writing: a folder or a file that is copied, while the machine is paused or stopped, to clone it
    /// or to keep a state of it.
    fn data(&self, machine: &Machine) -> PathBuf;

    /// Holds a running machine still, with all that it wrote on disk.
    async fn pause(&self, machine: &Machine) -> Result<(), ProviderError>;

    async fn resume(&self, machine: &Machine) -> Result<(), ProviderError>;

    /// Everything of this kind on the host that does not bear the prefix, whoever has adopted it.
    async fn foreign(&self, prefix: &str) -> Result<Vec<Foreign>, ProviderError>;

    /// Takes what exists under control: starts it unless it runs, connects a second cable to the bridge with the
    /// wiring's address. `machine.record.origin` says what it is; a folder gets a machine of this kind made for it.
    async fn adopt(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError>;

    /// Takes away what [`Driver::adopt`] added, also if it is not there any more. A machine that was there runs on.
    async fn release(&self, machine: &Machine) -> Result<(), ProviderError>;
}
