//! `machine adopt`

use std::path::PathBuf;

use crate::api::AdoptMachine;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::{count, words};

/// Take over what is on this host already: a container, a virtual machine, or a folder with a root filesystem
///
/// It keeps its name, its files, its configuration and its own network, and gets an address beside its own. It is started
/// if it does not run. A folder becomes a container whose root it is, as it is: what units write lands in it.
///
/// Units are put on it by name only (`deploy mysql --to 3`). `encanto machine release` gives it back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto machine list --all
  sudo encanto machine adopt web
  sudo encanto machine adopt web --kind lxc
  sudo encanto machine adopt --filesystem /srv/root --name shop --ram 512")]
pub struct Adopt {
    /// What `lxc-ls` or `virsh list --all` call it
    #[arg(value_name = "NAME")]
    origin: Option<String>,
    /// The kind of machine, where several have that name: `lxc`, `libvirt-lxc`, `kvm`
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// A folder with a root filesystem
    #[arg(long, value_name = "DIR", conflicts_with = "origin")]
    filesystem: Option<PathBuf>,
    /// Of a folder: megabytes of memory at most
    #[arg(long, value_name = "MB", value_parser = count)]
    ram: Option<u32>,
    /// Of a folder: processors at most
    #[arg(long, value_name = "N", value_parser = count)]
    vcpu: Option<u32>,
    /// What to call it beside its number; by default as it is called already
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Adopt {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        // The controller does not stand where the operator stands.
        let filesystem = self.filesystem.as_ref().map(std::path::absolute).transpose();
        let filesystem = filesystem.map_err(|error| Failure::io("cannot find the folder", &error))?;
        let filesystem = filesystem.map(|folder| folder.display().to_string());
        let command = words("machine adopt", &self.origin);
        let request = AdoptMachine {
            origin: self.origin,
            kind: self.kind,
            filesystem,
            name: self.name,
            ram: self.ram.map(u64::from),
            vcpu: self.vcpu,
        };
        session.start(&command, &request, self.wait.until_started())
    }
}
