//! Runs Lua: what a charm is to the rest of the program.
//!
//! A hook is state in, outcome out: [`HookContext`] → Lua → [`HookOutcome`]. What the hook writes is returned, never
//! stored here; only status and log lines leave at once, through [`HookSink`]. A machine is reached only through
//! [`MachineAccess`].

pub mod digest;
pub mod fake;
pub mod load;
pub mod prompt;
pub mod run;
pub mod source;
pub mod vm;

mod declare;
mod fault;
mod host;
mod journal;
mod json;
mod locate;
mod lua_exec;
mod lua_files;
mod lua_globals;
mod lua_leader;
mod lua_machine;
mod lua_relation;
mod lua_unit;
mod meter;
mod modules;
mod scene;
mod secret;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;

use crate::model::{
    ConfigValue, EndpointName, Hook, LogLevel, MachineId, Port, RelationId, ServiceName, Settings, SettingsChange,
    UnitName, WorkloadStatus,
};

pub use digest::{digest, prepare_key};
pub use fault::{FaultKind, Frame};
pub use load::{LoadError, Problem};
pub use prompt::{Prompt, Reply};
pub use run::{ActionContext, ActionOutcome, CharmHost, HookError};
pub use source::{builtin_charm, builtin_charms, find_charm, read_folder};
pub use vm::Limits;

/// The files of a charm: path inside its folder (`charm.lua`, `templates/x.conf`, `lib/util.lua`) → content.
pub type CharmFiles = BTreeMap<String, Vec<u8>>;

/// Everything a hook may know, fixed for the time it runs.
#[derive(Clone)]
pub struct HookContext {
    pub hook: Hook,
    pub unit: UnitName,
    pub machine: MachineId,
    pub private_address: String,
    pub public_address: String,
    pub is_leader: bool,
    /// Who speaks for the service; nobody while all of its units are being removed.
    pub leader: Option<UnitName>,
    /// What the leader tells the other units.
    pub leader_settings: Settings,
    /// Set values over defaults; options with neither are absent.
    pub config: IndexMap<String, ConfigValue>,
    /// Keys of `config` that are secret.
    pub secret_config: BTreeSet<String>,
    /// What earlier hooks of this unit kept.
    pub state: serde_json::Map<String, serde_json::Value>,
    pub open_ports: BTreeSet<Port>,
    /// The relations this unit takes part in, by id.
    pub relations: BTreeMap<RelationId, RelationContext>,
}

impl fmt::Debug for HookContext {
    /// Config and state may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookContext({} of {})", self.hook, self.unit)
    }
}

#[derive(Clone, Debug)]
pub struct RelationContext {
    pub endpoint: EndpointName,
    /// The other side; in a peer relation the unit's own service.
    pub remote_service: ServiceName,
    /// This unit's own settings.
    pub local: Settings,
    /// Settings of the remote units that are in the relation now. In a `departed` hook the departing unit's
    /// settings can still be read (it is in `departed`, not here).
    pub remotes: BTreeMap<UnitName, Settings>,
    pub departed: Option<(UnitName, Settings)>,
}

/// What a hook that returned without error asks to be committed, all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookOutcome {
    pub relation_settings: BTreeMap<RelationId, SettingsChange>,
    pub leader_settings: SettingsChange,
    pub opened: BTreeSet<Port>,
    pub closed: BTreeSet<Port>,
    /// The whole state table after the hook; `None` if it did not change.
    pub state: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What leaves a hook at once.
pub trait HookSink: Send + Sync {
    /// One line, without its end; secrets are replaced already.
    fn log(&self, level: LogLevel, line: &str);
    fn status(&self, status: WorkloadStatus);
}

/// A command as a charm asks for it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExecCall {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub stdin: Vec<u8>,
    pub cwd: Option<String>,
    pub user: Option<String>,
    pub timeout: Option<Duration>,
}

impl fmt::Debug for ExecCall {
    /// Arguments, environment and input may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExecCall({:?} …)", self.argv.first())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    pub timed_out: bool,
    /// At most [`OUTPUT_LIMIT`] bytes of each are kept: the end of the stream.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Bytes of a command's output that a hook gets back.
pub const OUTPUT_LIMIT: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// Called with every line of output as it comes, without its end.
pub type OutputLines = Arc<dyn Fn(OutputStream, &str) + Send + Sync>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileAttributes {
    /// Permission bits, e.g. `0o644`.
    pub mode: Option<u32>,
    pub user: Option<String>,
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// `file`, `directory`, `symlink` or `other`.
    pub kind: &'static str,
    pub mode: u32,
    pub size: u64,
    pub uid: u32,
    pub gid: u32,
}

/// The machine a hook works on. Everything a charm does to the world goes through here.
#[async_trait]
pub trait MachineAccess: Send + Sync {
    async fn exec(&self, call: ExecCall, lines: OutputLines) -> Result<ExecResult, AccessError>;
    /// `None` if there is no such file.
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, AccessError>;
    async fn write(&self, path: &str, content: &[u8], attributes: &FileAttributes) -> Result<(), AccessError>;
    async fn stat(&self, path: &str) -> Result<Option<FileInfo>, AccessError>;
    async fn remove(&self, path: &str) -> Result<(), AccessError>;
}

/// The machine could not do what was asked; the text is the machine's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AccessError(pub String);
