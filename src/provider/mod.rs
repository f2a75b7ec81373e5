//! Makes machines real.
//!
//! A provider knows instances, layers and ports; it knows nothing of services, units or charms. Whoever
//! calls it decides, it only does. Everything here is idempotent: after a crash the caller repeats the call.
//!
//! - [`local`]: machines on this host, whatever runs them: a driver a kind, of which [`lxc`] is the first; others are in
//!   `libvirt`.
//! - [`remote`]: the same on another host, by this very binary over there.
//! - [`registry`]: all that there is.
//! - [`simulated`]: the same trait in memory, for fast tests and planning; it keeps state and can be told to fail.

pub mod command;
pub mod doctor;
#[cfg(feature = "libvirt")]
pub mod libvirt;
pub mod libvirt_uri;
pub mod local;
pub mod lxc;
mod name;
pub mod registry;
pub mod remote;
pub mod simulated;
pub mod systemd;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use crate::model::Origin;
use crate::model::{LONGEST_INSTANCE_NAME, Sighting};
pub use name::InstanceName;

/// The content key of a layer: lower-case hex of a SHA-256 over everything the layer's content depends on.
pub type LayerKey = String;

/// A kind of machines, as constraints name it (`virt-type=kvm`): what runs them, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// E.g. `lxc`, `libvirt-lxc`, `kvm`.
    pub name: &'static str,
    /// E.g. `LXC container`, for sentences.
    pub noun: &'static str,
    /// What `container=lxc` and `container=kvm` mean by it: `lxc` shares the host's kernel, `kvm` brings its own.
    pub container: &'static str,
    /// What keeps the machine from its host less well than one would expect; for `status` and the docs.
    pub caution: Option<&'static str>,
}

/// What an instance shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    pub name: InstanceName,
    /// Name of a [`Kind`]; `None` is the provider's first.
    pub kind: Option<String>,
    /// Debian release, e.g. `bookworm`.
    pub series: String,
    /// Read-only layers above the base image, lowest first. Each must exist ([`Provider::has_layer`]).
    pub layers: Vec<LayerKey>,
    /// Megabytes; `None` is unlimited.
    pub memory: Option<u64>,
    /// Cores; `None` is unlimited.
    pub cores: Option<u32>,
    /// Scratch instance in which a layer is made: may trade durability for speed, and is
    /// ended by [`Provider::seal`] or [`Provider::destroy`].
    pub build: bool,
}

/// What a created instance is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub name: InstanceName,
    pub address: Ipv4Addr,
    pub hardware: Hardware,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    pub arch: String,
    pub cores: u32,
    /// Megabytes.
    pub memory: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    Running,
    Stopped,
}

impl From<InstanceState> for Sighting {
    fn from(state: InstanceState) -> Self {
        match state {
            InstanceState::Running => Sighting::Running,
            InstanceState::Stopped => Sighting::Stopped,
        }
    }
}

/// One command to run inside an instance. An argument vector, never a shell line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    pub argv: Vec<String>,
    /// Added to a small clean environment (`PATH`, `HOME`, `LANG=C.UTF-8`, `TERM` when there is a terminal).
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    /// A user name inside the instance; `None` is root.
    pub user: Option<String>,
    /// When it ends the whole process group is killed.
    pub timeout: Option<Duration>,
    /// Ask for a terminal of this size (columns, rows); stdout and stderr are then one stream.
    pub terminal: Option<(u16, u16)>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecEnd {
    /// Exit code; 128 + signal when a signal ended it.
    Exited(i32),
    TimedOut,
}

/// A running command. Dropping it kills the command's process group.
///
/// If the controller dies (`kill -9` included) the command is killed too, so that the hook that
/// started it can be run again without two of them at work.
pub struct Execution {
    pub stdin: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    pub stdout: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
    pub stderr: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
    pub control: Box<dyn ExecControl>,
}

#[async_trait]
pub trait ExecControl: Send {
    /// Waits for the end; the streams must be drained beside it. May be dropped and called again.
    ///
    /// A process that the command left behind may still hold its streams: after the end, give them a moment, not forever.
    async fn wait(&mut self) -> Result<ExecEnd, ProviderError>;
    /// Tells a terminal its new size (columns, rows); nothing without one.
    async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ProviderError>;
    /// Kills the command's process group at once.
    fn kill(&mut self);
}

/// What a file inside an instance is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    pub kind: FileKind,
    /// Permission bits only, e.g. `0o644`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes.
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other,
}

/// A state of an instance that was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// As an instance is named.
    pub name: String,
    /// When it was taken, in milliseconds since 1970.
    pub taken: i64,
    /// Bytes on disk.
    pub size: u64,
}

/// A container or virtual machine on this host that is none of this environment's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// Name of the [`Kind`] that it would be adopted as.
    pub kind: String,
    /// As its own tools name it.
    pub name: String,
    pub state: InstanceState,
    /// The release that is in it, e.g. `bookworm`, as far as that can be seen.
    pub series: Option<String>,
    /// Why it cannot be adopted as it is; `None` if it can.
    pub obstacle: Option<String>,
}

/// How to write a file. `None` keeps what an existing file has, else 0644 and root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOptions {
    pub mode: Option<u32>,
    pub user: Option<String>,
    pub group: Option<String>,
}

/// One port that is reachable from outside the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Port on the host's own addresses; `None` opens the instance's address only.
    pub host_port: Option<u16>,
    pub address: Ipv4Addr,
    pub port: u16,
}

/// Where progress of long work is told, one line a step.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// The hypervisor behind an environment. One value serves one environment.
///
/// # Guarantees
/// Every call may be repeated, also after a crash in the middle of it. `destroy` and `teardown` succeed when
/// there is nothing left to do. Calls for different instances run in parallel.
///
/// # Errors
/// [`ProviderError`] carries the hypervisor's own words.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Brings up what all instances share: network, base image, firewall table. Idempotent, also after a reboot.
    async fn open(&self, progress: Progress) -> Result<(), ProviderError>;

    /// Removes everything that [`Provider::open`] made and every instance of this environment; those that were adopted
    /// are released. The cache of images and layers stays.
    async fn teardown(&self) -> Result<(), ProviderError>;

    /// Returns as soon as something of what all instances share is damaged from outside, at once if it is so already,
    /// and says what. Never before [`Provider::open`]. May be dropped.
    async fn disturbed(&self) -> String;

    /// Puts right what all instances share: network, names, and the firewall with the ports published last. Idempotent.
    async fn mend(&self) -> Result<(), ProviderError>;

    /// The other host that the machines are on, as an operator names it.
    fn elsewhere(&self) -> Option<String> {
        None
    }

    /// The address by which instances reach the host.
    fn host_address(&self) -> Ipv4Addr;

    fn host_hardware(&self) -> Hardware;

    /// The kinds of machines that it makes, the default first; never empty.
    fn kinds(&self) -> Vec<Kind>;

    /// Kinds that it would make if something were not missing, and what.
    fn absent_kinds(&self) -> Vec<(Kind, String)> {
        Vec::new()
    }

    /// Identifies the content of the base image for `series` and this kind (`None`: the default); part of every layer's
    /// key. Kinds that can share layers have the same.
    fn base_key(&self, kind: Option<&str>, series: &str) -> String;

    /// Creates and starts the instance, and returns when commands can be run in it. If it exists already it is
    /// started if need be and described again; it keeps its address.
    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ProviderError>;

    /// Starts a stopped instance (mounts what must be mounted); nothing if it runs.
    async fn start(&self, name: &InstanceName) -> Result<(), ProviderError>;

    async fn stop(&self, name: &InstanceName) -> Result<(), ProviderError>;

    /// Returns when the instance does not run, at once if so; a restart from inside it is no end. May be dropped.
    async fn ended(&self, name: &InstanceName);

    /// Ends and removes the instance and all its files. One that was adopted is released.
    async fn destroy(&self, name: &InstanceName) -> Result<(), ProviderError>;

    /// All instances of this environment.
    async fn list(&self) -> Result<BTreeMap<InstanceName, InstanceState>, ProviderError>;

    async fn exec(&self, name: &InstanceName, request: ExecRequest) -> Result<Execution, ProviderError>;

    /// Reads a file, at most `limit` bytes.
    async fn read_file(&self, name: &InstanceName, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError>;

    /// Replaces a file atomically; parent folders are made.
    async fn write_file(
        &self,
        name: &InstanceName,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError>;

    /// `None` if there is no such file. Does not follow a final symlink.
    async fn stat_file(&self, name: &InstanceName, path: &str) -> Result<Option<FileStat>, ProviderError>;

    /// Removes a file or a whole folder; nothing if it is absent.
    async fn remove_file(&self, name: &InstanceName, path: &str) -> Result<(), ProviderError>;

    async fn has_layer(&self, key: &LayerKey) -> Result<bool, ProviderError>;

    /// Stops a build instance and keeps what was written in it as the layer `key`; the instance is gone afterwards.
    async fn seal(&self, name: &InstanceName, key: &LayerKey) -> Result<(), ProviderError>;

    /// Makes a new instance with a copy of all that `from` has on its disk, and starts it. A running `from` is paused for
    /// as long as it is copied; what comes out is as after a power cut. Name, address and machine id are the new one's
    /// own. `spec` says kind, series and layers no differently than `from` has them.
    async fn clone_instance(&self, from: &InstanceName, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        let _ = spec;
        Err(ProviderError::Unsupported { action: "clone", name: from.clone() })
    }

    /// Keeps what the instance has on its disk now, under a name; paused meanwhile if it runs. Nothing if there is one
    /// of that name already and it is whole.
    async fn snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<Snapshot, ProviderError> {
        let _ = snapshot;
        Err(ProviderError::Unsupported { action: "snapshot", name: name.clone() })
    }

    /// Gives the instance back the disk that it had. A running one is stopped and started again.
    async fn restore(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        let _ = snapshot;
        Err(ProviderError::Unsupported { action: "restore", name: name.clone() })
    }

    /// Removes a snapshot; nothing if it is absent.
    async fn drop_snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        let _ = snapshot;
        Err(ProviderError::Unsupported { action: "snapshot", name: name.clone() })
    }

    /// By age, the oldest first.
    async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>, ProviderError> {
        Err(ProviderError::Unsupported { action: "snapshot", name: name.clone() })
    }

    /// The machine's console: what it showed last, then a login of root on it, with a terminal of this size.
    async fn console(&self, name: &InstanceName, terminal: (u16, u16)) -> Result<Execution, ProviderError> {
        let _ = terminal;
        Err(ProviderError::Unsupported { action: "console", name: name.clone() })
    }

    /// What else there is on the host: neither made nor adopted by this environment.
    async fn foreign(&self) -> Result<Vec<Foreign>, ProviderError> {
        Ok(Vec::new())
    }

    /// A folder with a root filesystem, as something that could be adopted. Its name is the folder's.
    async fn inspect(&self, folder: &Path) -> Result<Foreign, ProviderError> {
        Err(ProviderError::Io {
            action: "adopt",
            path: folder.to_owned(),
            source: std::io::ErrorKind::Unsupported.into(),
        })
    }

    /// Takes what exists under control, as `spec` names it: starts it if need be, and gives it an address beside its own.
    /// What it has on its disk stays as it is. Repeating it is fine.
    async fn adopt(&self, spec: &InstanceSpec, origin: &Origin) -> Result<Instance, ProviderError> {
        let _ = origin;
        Err(ProviderError::Unsupported { action: "adopt", name: spec.name.clone() })
    }

    /// Gives an adopted instance back as it was found, but for what was written in it: it runs on, and only what
    /// [`Provider::adopt`] added to it is taken away. Nothing if there is no such instance. One that was not adopted is
    /// refused.
    async fn release(&self, name: &InstanceName) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported { action: "release", name: name.clone() })
    }

    /// Makes exactly these ports reachable from outside the host, atomically.
    async fn publish(&self, ports: &[PublishedPort]) -> Result<(), ProviderError>;
}

/// What went wrong with a machine, in the hypervisor's own words.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the hypervisor takes no instance name {0:?}: at most {LONGEST_INSTANCE_NAME} letters, digits, -, _ and .")]
    BadName(String),
    #[error("there is no instance {0}")]
    NoInstance(InstanceName),
    #[error("{name} is not running")]
    NotRunning { name: InstanceName },
    #[error("no such file {path:?} in {name}")]
    NoFile { name: InstanceName, path: String },
    #[error("{path:?} in {name} is larger than {limit} bytes")]
    FileTooLarge { name: InstanceName, path: String, limit: u64 },
    #[error("cannot {action} {path:?} in {name}: {reason}")]
    File { action: &'static str, name: InstanceName, path: String, reason: String },
    #[error("{name} has no snapshot {snapshot:?}")]
    NoSnapshot { name: InstanceName, snapshot: String },
    #[error("there is no layer {0}")]
    NoLayer(LayerKey),
    #[error("`{command}` failed ({status}): {output}")]
    Command { command: String, status: String, output: String },
    #[error("cannot run `{command}`")]
    Spawn { command: String, source: std::io::Error },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot enter {name}")]
    Enter { name: InstanceName, source: std::io::Error },
    #[error("cannot mount {}: {step}", target.display())]
    Mount { target: PathBuf, step: String, source: std::io::Error },
    #[error("there is no user or group {user:?} in {name}")]
    NoUser { name: InstanceName, user: String },
    #[error("root has no range of 65536 ids in /etc/subuid and /etc/subgid")]
    NoIdRange,
    #[error("{name} did not become ready within {seconds} s: {output}")]
    NotReady { name: InstanceName, seconds: u64, output: String },
    #[error("no free subnet for a bridge was found among {tried}")]
    NoFreeSubnet { tried: String },
    #[error("no free address is left in {subnet}")]
    NoFreeAddress { subnet: String },
    #[error("series {series:?} is not supported by this provider (it has {known})")]
    UnknownSeries { series: String, known: String },
    /// One clear refusal for whatever a kind of machines is not able to do.
    #[error("{name} cannot do that: its provider has no {action}")]
    Unsupported { action: &'static str, name: InstanceName },
    /// What was to be adopted.
    #[error("there is no {0} on this host")]
    NoOrigin(String),
    #[error("{} is adopted by another environment", .0)]
    Taken(Origin),
    #[error("{0} has no network of its own, but the host's")]
    SharedNetwork(String),
    /// What was to be released.
    #[error("{0} was not adopted: the environment made it")]
    OwnMake(InstanceName),
    #[error("there is no kind of machines {kind:?} here (there is {known})")]
    UnknownKind { kind: String, known: String },
    #[error("libvirt: {words}")]
    Libvirt { words: String, remedy: Option<String> },
    #[error("{place} has a {name} already that is not this environment's")]
    NameTaken { name: String, place: String },
    #[error("{0} is there already, from an environment of this name whose state was lost")]
    Forgotten(InstanceName),
    #[error("this host has no apt source of Debian: set `mirror:` in environments.yaml")]
    NoArchive,
    /// What was said on another host, or of the way to it.
    #[error("{words}")]
    Remote { words: String, remedy: Option<String> },
    /// A failure that a test asked the simulated provider for.
    #[error("{0}")]
    Simulated(String),
}

impl ProviderError {
    /// What to do about it, if that is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Libvirt { remedy, .. } | Self::Remote { remedy, .. } => remedy.clone(),
            Self::NameTaken { name, place } if place.starts_with('/') => {
                Some(format!("`lxc-copy -R -P {place} -n {name} -N OTHER` frees the name, and keeps what it is"))
            }
            Self::NameTaken { name, place } => {
                Some(format!("`virsh -c {place} domrename {name} OTHER` frees the name, and keeps what it is"))
            }
            Self::Forgotten(_) => {
                Some("`encanto destroy-environment` takes it down, and its data with it; another name keeps it".into())
            }
            _ => None,
        }
    }
}
