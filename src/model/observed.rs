//! What is seen of the world and what workers are doing now: true for this moment only, never in the journal.

use std::collections::BTreeMap;

use super::names::{MachineId, UnitName};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Why nothing can be provisioned yet (the base image is being built, …).
    pub opening: Option<String>,
    /// Opening failed: `opening` has the provider's words. It is tried again from time to time.
    pub opening_failed: bool,
    /// Machines whose instance was looked for. A running machine that is absent here was not looked at yet.
    pub instances: BTreeMap<MachineId, Sighting>,
    /// What is being done to a machine, for `agent-state-info`.
    pub machine_activity: BTreeMap<MachineId, String>,
    /// What is being done for a unit: the hook that runs.
    pub unit_activity: BTreeMap<UnitName, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    Running,
    Stopped,
    Missing,
}

impl Sighting {
    pub fn as_str(self) -> &'static str {
        match self {
            Sighting::Running => "running",
            Sighting::Stopped => "stopped",
            Sighting::Missing => "missing",
        }
    }
}
