//! What is asked about machines that were there before the environment, and the answers.

use serde::{Deserialize, Serialize};

use super::requests::{Done, Verb, verbs};

/// What is on the host already becomes a machine: a container or virtual machine, or a folder with a root filesystem.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdoptMachine {
    /// As its own tools name it.
    pub origin: Option<String>,
    /// `lxc`, `libvirt-lxc` or `kvm`; `None` is whichever has it.
    pub kind: Option<String>,
    /// The folder, absolute.
    pub filesystem: Option<String>,
    /// What to call it beside its number; `None` is as it is called already, if that will do.
    pub name: Option<String>,
    /// Of a folder's container: megabytes, processors.
    pub ram: Option<u64>,
    pub vcpu: Option<u32>,
}

/// Adopted machines are given back as they were found, but for what was written in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseMachine {
    pub machines: Vec<String>,
}

/// What there is on the host that is no machine of this environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeignMachines {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForeignMachinesAnswer {
    /// By name, then kind.
    pub machines: Vec<ForeignMachine>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ForeignMachine {
    pub kind: String,
    pub name: String,
    /// `running` or `stopped`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// Why it cannot be adopted as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

verbs! {
    AdoptMachine => "adopt-machine" -> Done;
    ReleaseMachine => "release-machine" -> Done;
    ForeignMachines => "foreign-machines" -> ForeignMachinesAnswer;
}
