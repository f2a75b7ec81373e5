//! What has happened. The journal is a list of these; the model is what they add up to.
//!
//! **Invariant:** a variant or field that was ever released is never changed in meaning, only joined by new ones:
//! old journals are read for ever (`tests/fixtures/`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::charm::{CharmMeta, CharmUrl};
use super::config::ConfigValue;
use super::constraints::Constraints;
use super::entities::{HardwareFacts, PublishedMapping, RelationEndpoint};
use super::hook::Hook;
use super::names::{EnvironmentName, MachineId, Port, RelationId, ServiceName, UnitName};
use super::settings::SettingsChange;
use super::status::WorkloadStatus;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    EnvironmentCreated {
        name: EnvironmentName,
        series: String,
    },
    /// The host's address and hardware were found, or found changed.
    HostFound {
        series: String,
        address: Ipv4Addr,
        hardware: HardwareFacts,
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
