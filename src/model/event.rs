//! What has happened. The journal is a list of these; the model is what they add up to.
//!
//! **Invariant:** a variant or field that was ever released is never changed in meaning, only joined by new ones:
//! old journals are read for ever (`tests/fixtures/`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::action::ActionEnd;
use super::adoption::Adopted;
use super::charm::{CharmMeta, CharmUrl};
use super::config::ConfigValue;
use super::constraints::Constraints;
use super::entities::{HardwareFacts, Millis, PublishedMapping, RelationEndpoint};
use super::hook::Hook;
use super::kinds::Kinds;
use super::names::{
    ActionId, ActionName, EnvironmentName, MachineId, MachineName, Port, RelationId, ServiceName, SnapshotName,
    UnitName,
};
use super::settings::SettingsChange;
use super::status::WorkloadStatus;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    EnvironmentCreated {
        name: EnvironmentName,
        series: String,
    },
    /// A copy of its state was handed out.
    EnvironmentBackedUp {},
    /// Its state is that of a backup from now on, and may be older than its machines are.
    EnvironmentRestored {
        /// When the backup was taken.
        taken: Millis,
        /// Whose instances were there, those of machines that were added after the backup among them: no number of
        /// these is given out again.
        machines: BTreeSet<MachineId>,
    },
    /// The host's address and hardware were found, or found changed.
    HostFound {
        series: String,
        address: Ipv4Addr,
        hardware: HardwareFacts,
    },
    /// The kinds of machines that the provider makes were found, or found changed. Machines that are there and of no
    /// kind are of the default.
    KindsFound {
        kinds: Kinds,
    },
    CharmAdded {
        url: CharmUrl,
        digest: String,
        meta: Box<CharmMeta>,
    },
    CharmRemoved {
        url: CharmUrl,
    },

    MachineAdded {
        machine: MachineId,
        series: String,
        constraints: Constraints,
    },
    /// What is on the host already is to be a machine from now on.
    MachineAdopted {
        machine: MachineId,
        series: String,
        constraints: Constraints,
        adopted: Adopted,
    },
    MachineProvisioned {
        machine: MachineId,
        instance: String,
        address: Ipv4Addr,
        hardware: HardwareFacts,
        prepared: Option<CharmUrl>,
    },
    MachineFailed {
        machine: MachineId,
        message: String,
    },
    /// Its creation failed and is to be tried again.
    MachineRetried {
        machine: MachineId,
    },
    MachineDying {
        machine: MachineId,
    },
    MachineRemoved {
        machine: MachineId,
    },
    /// What operators call it beside its number.
    MachineNamed {
        machine: MachineId,
        name: MachineName,
    },
    /// It was added to become a copy of another.
    MachineCloned {
        machine: MachineId,
        from: MachineId,
    },
    /// It is to stand still until it is started.
    MachineStopAsked {
        machine: MachineId,
    },
    MachineStartAsked {
        machine: MachineId,
    },
    /// It is to be stopped, and then started.
    MachineRestartAsked {
        machine: MachineId,
    },
    /// A machine that is to be restarted does not run any more, and is to be started.
    MachineHalted {
        machine: MachineId,
    },
    /// A machine that was to be started runs.
    MachineUp {
        machine: MachineId,
    },
    /// It is to have the disk again that it had when the snapshot was taken.
    MachineRestoreAsked {
        machine: MachineId,
        snapshot: SnapshotName,
    },
    MachineRestored {
        machine: MachineId,
        snapshot: SnapshotName,
    },
    MachineRestoreFailed {
        machine: MachineId,
        snapshot: SnapshotName,
        message: String,
    },
    SnapshotTaken {
        machine: MachineId,
        snapshot: SnapshotName,
    },
    SnapshotDropped {
        machine: MachineId,
        snapshot: SnapshotName,
    },

    /// What new machines of a service, or of the whole environment, must be like; all that was said before is forgotten.
    ConstraintsSet {
        service: Option<ServiceName>,
        constraints: Constraints,
    },

    ServiceAdded {
        service: ServiceName,
        charm: CharmUrl,
        config: IndexMap<String, ConfigValue>,
        constraints: Constraints,
    },
    ServiceConfigured {
        service: ServiceName,
        changes: IndexMap<String, ConfigValue>,
    },
    /// It runs another version of its charm from now on; `config` is all that is set.
    ServiceUpgraded {
        service: ServiceName,
        charm: CharmUrl,
        config: IndexMap<String, ConfigValue>,
    },
    /// These options have their charm's defaults again.
    ServiceUnset {
        service: ServiceName,
        keys: Vec<String>,
    },
    ServiceExposed {
        service: ServiceName,
        published: BTreeSet<PublishedMapping>,
    },
    ServiceUnexposed {
        service: ServiceName,
    },
    ServiceDying {
        service: ServiceName,
    },
    ServiceRemoved {
        service: ServiceName,
    },

    UnitAdded {
        unit: UnitName,
        machine: MachineId,
        /// Of a subordinate: the unit it was made for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<UnitName>,
    },
    UnitStatusSet {
        unit: UnitName,
        status: WorkloadStatus,
    },
    UnitDying {
        unit: UnitName,
    },
    UnitRemoved {
        unit: UnitName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<UnitName>,
    },

    RelationAdded {
        relation: RelationId,
        endpoints: Vec<RelationEndpoint>,
    },
    RelationDying {
        relation: RelationId,
    },
    RelationRemoved {
        relation: RelationId,
    },
    /// The unit's hooks for the relation may run from now on; until it has left, the relation stays.
    ScopeAdmitted {
        unit: UnitName,
        relation: RelationId,
    },
    ScopeLeft {
        unit: UnitName,
        relation: RelationId,
    },

    /// A hook returned without error; all it wrote is in here.
    HookCommitted {
        unit: UnitName,
        hook: Hook,
        writes: Box<HookWrites>,
    },
    HookFailed {
        unit: UnitName,
        hook: Hook,
        message: String,
    },
    /// The failed hook is to be run again.
    HookRetried {
        unit: UnitName,
    },
    /// A failed hook counts as run, without its writes: an operator said so, or its unit is dying, and removal always
    /// ends.
    HookSkipped {
        unit: UnitName,
        hook: Hook,
        message: String,
    },

    ActionQueued {
        action: ActionId,
        unit: UnitName,
        name: ActionName,
        params: IndexMap<String, ConfigValue>,
        secret: Vec<String>,
        timeout: Option<Millis>,
        by: String,
    },
    ActionStarted {
        action: ActionId,
        unit: UnitName,
    },
    /// It runs and is to be ended.
    ActionCancelled {
        action: ActionId,
        unit: UnitName,
    },
    /// It is over. What it wrote is in here, if it completed.
    ActionEnded {
        action: ActionId,
        unit: UnitName,
        end: ActionEnd,
        writes: Box<HookWrites>,
    },
}

/// Whose status log an event belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Unit(UnitName),
    Machine(MachineId),
}

impl fmt::Display for Subject {
    /// As an operator names it: `mysql/0`, `3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Unit(unit) => unit.fmt(f),
            Subject::Machine(machine) => machine.fmt(f),
        }
    }
}

impl Event {
    /// Whose status log it belongs to. What belongs to nobody's and was not asked for by a command is dropped from the
    /// journal as soon as a snapshot stands in for it.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Event::MachineAdded { machine, .. }
            | Event::MachineAdopted { machine, .. }
            | Event::MachineProvisioned { machine, .. }
            | Event::MachineFailed { machine, .. }
            | Event::MachineRetried { machine }
            | Event::MachineDying { machine }
            | Event::MachineRemoved { machine }
            | Event::MachineNamed { machine, .. }
            | Event::MachineCloned { machine, .. }
            | Event::MachineStopAsked { machine }
            | Event::MachineStartAsked { machine }
            | Event::MachineRestartAsked { machine }
            | Event::MachineHalted { machine }
            | Event::MachineUp { machine }
            | Event::MachineRestoreAsked { machine, .. }
            | Event::MachineRestored { machine, .. }
            | Event::MachineRestoreFailed { machine, .. }
            | Event::SnapshotTaken { machine, .. }
            | Event::SnapshotDropped { machine, .. } => Some(Subject::Machine(*machine)),
            Event::UnitAdded { unit, .. }
            | Event::UnitStatusSet { unit, .. }
            | Event::UnitDying { unit }
            | Event::UnitRemoved { unit, .. }
            | Event::HookCommitted { unit, .. }
            | Event::HookFailed { unit, .. }
            | Event::HookRetried { unit }
            | Event::HookSkipped { unit, .. }
            | Event::ActionQueued { unit, .. }
            | Event::ActionStarted { unit, .. }
            | Event::ActionCancelled { unit, .. }
            | Event::ActionEnded { unit, .. } => Some(Subject::Unit(unit.clone())),
            Event::EnvironmentCreated { .. }
            | Event::EnvironmentBackedUp {}
            | Event::EnvironmentRestored { .. }
            | Event::HostFound { .. }
            | Event::KindsFound { .. }
            | Event::CharmAdded { .. }
            | Event::CharmRemoved { .. }
            | Event::ConstraintsSet { .. }
            | Event::ServiceAdded { .. }
            | Event::ServiceConfigured { .. }
            | Event::ServiceUpgraded { .. }
            | Event::ServiceUnset { .. }
            | Event::ServiceExposed { .. }
            | Event::ServiceUnexposed { .. }
            | Event::ServiceDying { .. }
            | Event::ServiceRemoved { .. }
            | Event::RelationAdded { .. }
            | Event::RelationDying { .. }
            | Event::RelationRemoved { .. }
            | Event::ScopeAdmitted { .. }
            | Event::ScopeLeft { .. } => None,
        }
    }
}

/// What a hook wrote, for one commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HookWrites {
    /// The version of the service's configuration the hook saw.
    #[serde(default)]
    pub config_version: u64,
    /// In a changed hook: the version of the remote unit's settings that it saw.
    #[serde(default)]
    pub remote_version: u64,
    /// The version of the leader's settings the hook saw.
    #[serde(default)]
    pub leader_version: u64,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub settings: IndexMap<RelationId, SettingsChange>,
    /// What the leader tells the other units of its service.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub leader: SettingsChange,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub opened: BTreeSet<Port>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub closed: BTreeSet<Port>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<serde_json::Map<String, serde_json::Value>>,
}

impl HookWrites {
    /// Whether committing it changes nothing but that the hook ran.
    pub fn is_empty(&self) -> bool {
        let told = !self.settings.is_empty() || !self.leader.is_empty();
        !told && self.opened.is_empty() && self.closed.is_empty() && self.state.is_none()
    }
}
