//! What is asked about machines that are there, and the answers. A machine is named by its id or by its name.

use serde::{Deserialize, Serialize};

use super::requests::{Done, Verb, verbs};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListMachines {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineList {
    pub machines: Vec<MachineEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MachineEntry {
    pub machine: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub instance: String,
    /// E.g. `lxc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// As `agent-state` of `status` has it, or `pending`.
    pub state: String,
    /// What is done with it, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Megabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<String>,
    /// How many; absent if its kind has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<u64>,
}

/// They stand still until they are started; what is in them stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopMachine {
    pub machines: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartMachine {
    pub machines: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestartMachine {
    pub machines: Vec<String>,
}

/// New machines with what another has on its disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloneMachine {
    pub machine: String,
    pub count: u32,
    pub name: Option<String>,
    /// What is to be different, e.g. `mem=512M cpu-cores=1`.
    pub constraints: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListSnapshots {
    pub machine: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotList {
    /// The oldest first.
    pub snapshots: Vec<SnapshotInfo>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    pub name: String,
    /// RFC 3339, UTC, whole seconds.
    pub taken: String,
    /// Bytes on disk.
    pub size: u64,
}

/// Answered when it is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TakeSnapshot {
    pub machine: String,
    /// `None` is named by the time.
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropSnapshot {
    pub machine: String,
    pub name: String,
}

/// Answered when the machine has the disk that it had; goes on also if nobody waits for that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreMachine {
    pub machine: String,
    pub snapshot: String,
}

/// `POST /v1/console` with `Upgrade: encanto-exec`. After `101` both sides send frames, as with [`super::Exec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Console {
    pub machine: String,
    /// Columns, rows.
    pub terminal: (u16, u16),
}

verbs! {
    ListMachines => "list-machines" -> MachineList;
    StopMachine => "stop-machine" -> Done;
    StartMachine => "start-machine" -> Done;
    RestartMachine => "restart-machine" -> Done;
    CloneMachine => "clone-machine" -> Done;
    ListSnapshots => "list-snapshots" -> SnapshotList;
    TakeSnapshot => "take-snapshot" -> Done;
    DropSnapshot => "drop-snapshot" -> Done;
    RestoreMachine => "restore-machine" -> Done;
}
