//! What the command line asks. Each request is POSTed as JSON to `/v1/<its path>`.
//!
//! Names travel as the operator typed them: the controller checks them, so that there is one place for error texts.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::status::{EnvironmentStatus, ServiceConfig};

/// The version that client and controller must share.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Header with the client's version; the controller refuses another one.
pub const VERSION_HEADER: &str = "encanto-version";
/// Header with the command that asked, for the journal, e.g. `deploy mysql`. Never holds values of settings.
pub const COMMAND_HEADER: &str = "encanto-command";

/// A request and its answer.
pub trait Verb: Serialize + DeserializeOwned + Send {
    /// Last part of the path, e.g. `add-unit`.
    const PATH: &'static str;
    type Answer: Serialize + DeserializeOwned + Send;
}

macro_rules! verbs {
    ($($request:ident => $path:literal -> $answer:ty;)*) => {
        $(impl Verb for $request {
            const PATH: &'static str = $path;
            type Answer = $answer;
        })*
    };
}
pub(super) use verbs;

verbs! {
    Deploy => "deploy" -> Done;
    AddUnit => "add-unit" -> Done;
    AddRelation => "add-relation" -> Done;
    AddMachine => "add-machine" -> Done;
    UpgradeCharm => "upgrade-charm" -> Done;
    DestroyRelation => "destroy-relation" -> Done;
    Resolved => "resolved" -> Done;
    RetryProvisioning => "retry-provisioning" -> Done;
    UnsetConfig => "unset" -> Done;
    StatusLog => "show-status-log" -> StatusLogAnswer;
    History => "history" -> HistoryAnswer;
    DestroyUnit => "destroy-unit" -> Done;
    DestroyService => "destroy-service" -> Done;
    DestroyMachine => "destroy-machine" -> Done;
    Expose => "expose" -> Done;
    Unexpose => "unexpose" -> Done;
    SetConfig => "set" -> Done;
    GetConfig => "get" -> ServiceConfig;
    GetConstraints => "get-constraints" -> ConstraintsAnswer;
    SetConstraints => "set-constraints" -> Done;
    Status => "status" -> EnvironmentStatus;
    Check => "check" -> CheckAnswer;
    ControllerInfo => "controller" -> ControllerAnswer;
    StopController => "stop-controller" -> Done;
    DestroyEnvironment => "destroy-environment" -> Done;
}

/// The request was accepted. Each note is one line for the operator, e.g. `created machine 1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    #[serde(default)]
    pub notes: Vec<String>,
    /// What `--wait` waits for: services, units or machine ids.
    #[serde(default)]
    pub targets: Vec<String>,
}

/// Why a request was refused; nothing was changed. One line, then what to type next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub error: String,
    /// More about the error: source lines, other mistakes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    #[serde(default)]
    pub hints: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CharmSource {
    /// A name from the repository: `mysql`, `local:bookworm/mysql`, `cs:precise/mysql-28`.
    Named(String),
    /// The files of a folder (`./dir`), read by the client: path → content in base64.
    Files { path: String, files: BTreeMap<String, String> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    pub charm: CharmSource,
    pub service: Option<String>,
    pub units: u32,
    /// A machine id, `lxc` or `lxc:ID`; `None` places each unit by itself.
    pub to: Option<String>,
    /// Strings are read by the option's type; other values must have it.
    pub config: IndexMap<String, serde_json::Value>,
    /// `mem=512M cpu-cores=1`.
    pub constraints: Option<String>,
    pub expose: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddUnit {
    pub service: String,
    pub units: u32,
    pub to: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddRelation {
    /// Two of `service` or `service:endpoint`.
    pub endpoints: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpgradeCharm {
    pub service: String,
    /// `None` is the charm of that name in the repository, as it is now.
    pub charm: Option<CharmSource>,
    /// Units in error too: their hooks are tried again with the new charm.
    pub force: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestroyRelation {
    /// Two of `service` or `service:endpoint`.
    pub endpoints: Vec<String>,
    /// Without hooks, at once.
    #[serde(default)]
    pub force: bool,
}

/// The failed hook of a unit counts as run, or is run again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    pub unit: String,
    pub retry: bool,
}

/// Machines that could not be created are tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryProvisioning {
    pub machines: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnsetConfig {
    pub service: String,
    pub keys: Vec<String>,
}

/// What a unit or a machine has gone through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusLog {
    /// A unit or a machine id.
    pub entity: String,
    /// The newest so many.
    pub lines: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusLogAnswer {
    /// The oldest first.
    pub entries: Vec<StatusLogEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusLogEntry {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// `workload` (what the charm said), `agent` (hooks), `action`, `machine`.
    pub kind: String,
    /// `active`, `executed`, `error`, `started`, …
    pub state: String,
    pub message: String,
}

/// Which command asked for what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The newest so many.
    pub lines: usize,
    /// Only what has to do with this service, unit, machine, …: a word of the command or of what came of it.
    #[serde(default)]
    pub about: Option<String>,
    /// Only what this user has asked for.
    #[serde(default)]
    pub user: Option<String>,
    /// Only what is not older than so many seconds.
    #[serde(default)]
    pub since: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryAnswer {
    /// The oldest first.
    pub entries: Vec<HistoryEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Who typed it; empty where a journal of 0.1 does not say.
    #[serde(default)]
    pub user: String,
    /// The command as it was typed, without values of settings, e.g. `deploy mysql`.
    pub command: String,
    /// What came of it, a line each, e.g. `service mysql added`.
    pub effects: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddMachine {
    pub count: u32,
    pub series: Option<String>,
    pub constraints: Option<String>,
    /// `lxc`, `lxc:ID` or nothing.
    pub placement: Option<String>,
    /// What it is to be called beside its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestroyUnit {
    pub units: Vec<String>,
    /// Without hooks, at once.
    pub force: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestroyService {
    pub services: Vec<String>,
    pub force: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestroyMachine {
    pub machines: Vec<String>,
    pub force: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expose {
    pub service: String,
    /// `HOSTPORT:PORT[/protocol]` each.
    pub publish: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unexpose {
    pub service: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetConfig {
    pub service: String,
    pub values: IndexMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GetConfig {
    pub service: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GetConstraints {
    /// `None` is the whole environment.
    pub service: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConstraintsAnswer {
    /// As they would be typed, in Juju's order; an empty value says that the environment's does not count.
    pub constraints: IndexMap<String, String>,
}

/// All that was said before is forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetConstraints {
    /// `None` is the whole environment.
    pub service: Option<String>,
    /// `mem=512M cpu-cores=1`.
    pub constraints: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Service or unit names, `*` allowed; none is all.
    pub patterns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// Inconsistencies of the model and leaked instances; empty is well.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControllerInfo {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControllerAnswer {
    pub version: String,
    pub environment: String,
    pub pid: u32,
    /// RFC 3339, UTC, whole seconds.
    pub started: String,
    /// Number of the last journal entry.
    pub sequence: u64,
    pub machines: u64,
    pub units: u64,
}

/// The machines keep running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopController {}

/// Everything goes; the answer comes when nothing is left but the controller itself, which then ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestroyEnvironment {}

/// `POST /v1/wait`, answered by server-sent events, each `data:` a [`super::WaitEvent`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// Services, units or machine ids; none is everything.
    pub targets: Vec<String>,
    /// `active` (default): every unit active, nothing pending. `settled`: nothing pending, though a unit may await an
    /// operator. `started`: every unit's start hook ran. `gone`.
    pub condition: Option<String>,
    /// Seconds.
    pub timeout: Option<u64>,
}

/// `POST /v1/watch`, answered by server-sent events, each `data:` an [`EnvironmentStatus`]: one at once, another
/// whenever it is a different one, but not more than ten a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// As in [`Status`].
    pub patterns: Vec<String>,
}

/// `POST /v1/debug-log`, answered by server-sent events, each `data:` a [`super::LogLine`] with its number as `id:`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DebugLog {
    /// How many of the last lines first; `None` with `replay` is all that is kept.
    pub lines: Option<usize>,
    pub replay: bool,
    pub follow: bool,
    /// Units (`mysql/0`, `unit-mysql-0`), services or machines (`1`, `machine-1`, `1/lxc/0`); none is all.
    pub include: Vec<String>,
    /// The same, but what is not shown; wins over `include`. In both `*` stands for anything.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The stream ends after so many lines.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Lowest level shown.
    pub level: Option<String>,
    /// Only lines after this one (a reconnect).
    pub after: Option<u64>,
}

/// `POST /v1/backup`, answered by the file as [`super::backup`] describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backup {}

/// `POST /v1/exec` with `Upgrade: encanto-exec`. After `101` both sides send frames (see [`Frame`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// A unit or a machine id; before it may stand `user@`.
    pub target: String,
    /// Empty is a login shell.
    pub argv: Vec<String>,
    /// Ask for a terminal: columns, rows.
    pub terminal: Option<(u16, u16)>,
    /// The client's `TERM`.
    pub term: Option<String>,
}

/// `POST /v1/debug-hooks` with `Upgrade: encanto-exec`. After `101` both sides send frames: the operator's lines go one
/// way, what is said goes the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DebugHooks {
    pub unit: String,
    /// Which hooks; none is all that the charm declares.
    pub hooks: Vec<String>,
    /// Begin with a shell, not with the prompt.
    pub shell: bool,
    /// The operator's terminal: columns, rows. Without one the lines come unasked.
    pub terminal: Option<(u16, u16)>,
    pub term: Option<String>,
    /// Who is told to hold the unit, e.g. `ana (process 4711)`.
    pub who: String,
}

/// One frame of an exec stream: a byte for the kind, four for the length (big endian), then the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Client → controller; empty ends stdin.
    Stdin(Vec<u8>),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Client → controller: columns, rows.
    Resize(u16, u16),
    /// Controller → client, the last frame: the exit code.
    Exit(i32),
    /// Controller → client, the last frame: the command could not be run.
    Failed(String),
    /// Controller → client: a line is wanted, and this is to stand before it.
    Prompt(String),
    /// Client → controller: a line, without its end.
    Line(String),
    /// Controller → client: from now on every key goes to a program as `Stdin`, or not any more.
    Raw(bool),
    /// Client → controller: Ctrl-C while no program has the keys.
    Interrupt,
}
