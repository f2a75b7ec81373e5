//! Machines, services, units and relations as the journal knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::adoption::Adopted;
use super::charm::{CharmUrl, Role, Scope};
use super::config::ConfigValue;
use super::constraints::Constraints;
use super::hook::Hook;
use super::names::{
    ActionId, EndpointName, InterfaceName, MachineId, MachineName, Port, RelationId, ServiceName, SnapshotName,
    UnitName,
};
use super::settings::Settings;
use super::status::WorkloadStatus;

/// Milliseconds since 1970, UTC.
pub type Millis = i64;

/// One-way: what is dying or dead never comes back. The dead are removed, so they are not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    Alive,
    Dying,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareFacts {
    pub arch: String,
    pub cores: u32,
    /// Megabytes.
    pub mem: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub id: MachineId,
    pub life: Life,
    pub series: String,
    pub constraints: Constraints,
    pub provision: Provision,
    pub units: BTreeSet<UnitName>,
    /// Whether it ever hosted a unit, or is somebody's; such a machine is not given to another unit by itself.
    pub used: bool,
    /// The number of the next container on it; never used again.
    #[serde(default)]
    pub next_container: u32,
    /// What it is, if it was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// What operators call it beside its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<MachineName>,
    #[serde(default)]
    pub power: Power,
    /// The machine that it was made as a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<MachineId>,
    /// The copies of it that are still to be made; it does not go before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub copies_due: BTreeSet<MachineId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
}

/// Whether a machine that is there shall run. One way round: on, off or restarting, starting, on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It runs; if it ends by itself it is started again.
    #[default]
    On,
    /// An operator wants it to stand still.
    Off,
    /// It is to be stopped, and then started.
    Restarting,
    /// It is to be started; once it runs it is on.
    Starting,
}

/// A disk that a machine is to have again, from one of its snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restore {
    Due {
        snapshot: SnapshotName,
    },
    /// In the provider's own words; kept until the next attempt.
    Failed {
        snapshot: SnapshotName,
        message: String,
    },
}

/// How far a machine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provision {
    /// Machine 0: the controller's own host.
    Host {
        address: Ipv4Addr,
        hardware: HardwareFacts,
    },
    Pending,
    /// In the provider's own words.
    Failed {
        message: String,
    },
    Running {
        instance: String,
        address: Ipv4Addr,
        hardware: HardwareFacts,
        /// The charm whose prepared software is among the machine's layers.
        prepared: Option<CharmUrl>,
    },
}

impl Machine {
    pub fn address(&self) -> Option<Ipv4Addr> {
        match &self.provision {
            Provision::Host { address, .. } | Provision::Running { address, .. } => Some(*address),
            Provision::Pending | Provision::Failed { .. } => None,
        }
    }

    /// Whether hooks, actions and commands can run in it, as far as operators want it.
    pub fn is_up(&self) -> bool {
        let there = matches!(self.provision, Provision::Running { .. });
        there && self.power == Power::On && !matches!(self.restore, Some(Restore::Due { .. }))
    }

    /// What is still to be done with it so that it is as an operator wants it, or could not be done; `None` if it is.
    pub fn wish(&self) -> Option<String> {
        match (&self.restore, self.power) {
            (Some(Restore::Due { snapshot }), _) => Some(format!("restoring snapshot {snapshot}")),
            (_, Power::Restarting) => Some("restarting".to_owned()),
            (_, Power::Starting) => Some("starting".to_owned()),
            (Some(Restore::Failed { snapshot, message }), _) => {
                Some(format!("snapshot {snapshot} was not restored: {message}"))
            }
            (None, Power::On | Power::Off) => None,
        }
    }

    /// An operator has stopped it.
    pub fn is_off(&self) -> bool {
        self.power == Power::Off
    }
}

impl Power {
    /// Whether the machine is to end, for now or for longer.
    pub fn goes_down(self) -> bool {
        matches!(self, Power::Off | Power::Restarting)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: ServiceName,
    pub life: Life,
    pub charm: CharmUrl,
    /// What the operator set, not the defaults.
    pub config: IndexMap<String, ConfigValue>,
    /// Grows with every change of `config`; a unit that has seen a lower one is due for config-changed.
    pub config_version: u64,
    pub constraints: Constraints,
    pub exposed: bool,
    pub published: BTreeSet<PublishedMapping>,
    /// Numbers of its units.
    pub units: BTreeSet<u32>,
    pub relations: BTreeSet<RelationId>,
    /// What the leader tells the other units.
    #[serde(default)]
    pub leader_settings: Settings,
    /// Grows with every change of `leader_settings`.
    #[serde(default)]
    pub leader_version: u64,
}

/// `expose --publish HOSTPORT:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedMapping {
    pub host_port: u16,
    pub port: Port,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    pub name: UnitName,
    pub life: Life,
    pub machine: MachineId,
    /// Of a subordinate: the unit it was made for, on whose machine it lives and without which it does not.
    #[serde(default)]
    pub principal: Option<UnitName>,
    /// The units that were made for this one, at most one of each service.
    #[serde(default)]
    pub subordinates: BTreeSet<UnitName>,
    pub charm: CharmUrl,
    pub workload: WorkloadStatus,
    pub workload_since: Millis,
    pub open_ports: BTreeSet<Port>,
    /// What the charm keeps between hooks.
    pub state: serde_json::Map<String, serde_json::Value>,
    /// Its charm's software was installed on this machine itself, not by a layer.
    pub prepared_in_place: bool,
    pub installed: bool,
    /// Its charm was changed, and its upgrade-charm hook is due.
    #[serde(default)]
    pub upgrading: bool,
    /// Its leader-elected hook ran.
    #[serde(default)]
    pub elected: bool,
    /// The service's `leader_version` that its last leader-settings-changed saw.
    #[serde(default)]
    pub leader_seen: Option<u64>,
    pub started: bool,
    pub stopped: bool,
    /// The service's `config_version` that its last config-changed saw.
    pub config_seen: Option<u64>,
    /// The relations it was admitted to.
    pub scopes: BTreeMap<RelationId, UnitScope>,
    pub failed: Option<FailedHook>,
    /// The failed hook that is to be run again, before any other.
    #[serde(default)]
    pub retried: Option<Hook>,
    /// How often the hook that is tried again now has failed.
    #[serde(default)]
    pub failures: u32,
    /// The actions that wait for it or run on it, in the order in which they were asked for.
    #[serde(default)]
    pub actions: BTreeSet<ActionId>,
}

/// A unit's view of one relation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitScope {
    /// The created hook ran.
    pub created: bool,
    /// Remote units whose joined hook ran → the version of their settings that changed last saw; `None` right after joined.
    pub seen: BTreeMap<UnitName, Option<u64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedHook {
    pub hook: Hook,
    /// One line: what the status shows.
    pub message: String,
    /// When it failed last.
    #[serde(default)]
    pub at: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    pub id: RelationId,
    pub life: Life,
    /// Two, the requirer first; one in a peer relation.
    pub endpoints: Vec<RelationEndpoint>,
    pub members: BTreeMap<UnitName, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationEndpoint {
    pub service: ServiceName,
    pub endpoint: EndpointName,
    pub interface: InterfaceName,
    pub role: Role,
    pub scope: Scope,
}

/// One unit in a relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub presence: Presence,
    pub settings: Settings,
    /// Grows with every change of `settings`.
    pub version: u64,
    /// In a container-scoped relation: the one member it may know, its own principal or its own subordinate.
    #[serde(default)]
    pub opposite: Option<UnitName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Its own hooks for the relation may run; others do not see it.
    Admitted,
    /// Others see it.
    Entered,
    /// Others who saw it are due for departed; its settings are kept for them.
    Left,
}

impl RelationEndpoint {
    /// The endpoint that `service` has without declaring it.
    pub fn juju_info(service: ServiceName) -> Self {
        RelationEndpoint {
            service,
            endpoint: EndpointName::juju_info(),
            interface: InterfaceName::juju_info(),
            role: Role::Provider,
            scope: Scope::Global,
        }
    }

    pub fn is_implicit(&self) -> bool {
        self.role == Role::Provider && self.endpoint == EndpointName::juju_info()
    }
}

impl Relation {
    /// Whether a unit is in it still, so that it cannot go.
    pub fn is_held(&self) -> bool {
        self.members.values().any(|member| member.presence != Presence::Left)
    }

    /// Whether a unit knows only its own principal, or its own subordinate.
    pub fn is_container_scoped(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.scope == Scope::Container)
    }

    pub fn is_peer(&self) -> bool {
        self.endpoints.len() == 1
    }

    pub fn endpoint_of(&self, service: &ServiceName) -> Option<&RelationEndpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.service == *service)
    }

    /// The service a unit of `service` sees; in a peer relation its own.
    pub fn remote_service<'a>(&'a self, service: &'a ServiceName) -> &'a ServiceName {
        self.endpoints.iter().map(|endpoint| &endpoint.service).find(|other| *other != service).unwrap_or(service)
    }

    /// The members `unit` may know of: those of the other service, or its peers; in a container-scoped relation the one
    /// that shares its container.
    pub fn remotes_of<'a>(&'a self, unit: &'a UnitName) -> impl Iterator<Item = (&'a UnitName, &'a Member)> + 'a {
        let container = self.is_container_scoped();
        let opposite = self.members.get(unit).and_then(|member| member.opposite.as_ref()).filter(|_| container);
        let service = self.remote_service(&unit.service);
        let bound = |number| UnitName { service: service.clone(), number };
        let others = (!container).then(|| self.members.range(bound(0)..=bound(u32::MAX)));
        let own = opposite.and_then(|opposite| self.members.get_key_value(opposite));
        own.into_iter().chain(others.into_iter().flatten()).filter(move |(name, _)| *name != unit)
    }

    /// Juju's name for it: `wordpress:db mysql:db`.
    pub fn key(&self) -> String {
        let ends: Vec<String> = self.endpoints.iter().map(|e| format!("{}:{}", e.service, e.endpoint)).collect();
        ends.join(" ")
    }
}
