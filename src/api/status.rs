//! What `status`, `get` and the like answer. Keys are those of Juju 1.x.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EnvironmentStatus {
    pub environment: String,
    /// The host that the machines are on, if it is not the controller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub machines: IndexMap<String, MachineStatus>,
    pub services: IndexMap<String, ServiceStatus>,
    /// Relations that are being removed, by their endpoints → what they wait for.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub dying_relations: IndexMap<String, String>,
    /// Kinds of the machines that are shown → what keeps these from their host less well than one expects.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub cautions: IndexMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MachineStatus {
    /// `pending`, `started`, `stopped`, `error` or `down`; absent while `instance-id` is `pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_state: Option<String>,
    /// What it is doing, or the provider's own words for what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_state_info: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    pub instance_id: String,
    /// What operators call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The machine that it was made as a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<String>,
    /// What it is on the host, if it was there before: `lxc web`, `folder /srv/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<String>,
    /// `running`, `stopped` or `missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    pub series: String,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub containers: IndexMap<String, MachineStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// The name of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virt_type: Option<String>,
}

impl EnvironmentStatus {
    /// Each machine, right before the containers on it.
    pub fn machines_and_containers(&self) -> impl Iterator<Item = (&String, &MachineStatus)> {
        self.machines.iter().flat_map(|(id, machine)| std::iter::once((id, machine)).chain(&machine.containers))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceStatus {
    pub charm: String,
    pub exposed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    /// What it waits for while it is dying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_info: Option<String>,
    /// `HOSTPORT:PORT` of `expose --publish`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<String>,
    /// Relation name → services on the other side, sorted; a peer relation lists the service itself.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub relations: IndexMap<String, Vec<String>>,
    /// Of a subordinate: the services on whose machines its units live, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subordinate_to: Vec<String>,
    /// None of a subordinate: its units are listed below those that they were made for.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub units: IndexMap<String, UnitStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UnitStatus {
    pub workload_status: WorkloadStatusInfo,
    /// `pending`, `installed`, `started`, `stopped`, `error` or `down`.
    pub agent_state: String,
    /// `hook failed: "install"` and the like, the hook that runs now, or what it waits for while it is dying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_state_info: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// It speaks for its service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leader: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    /// Absent of a subordinate, which is where its principal is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_ports: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<String>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub subordinates: IndexMap<String, UnitStatus>,
}

impl EnvironmentStatus {
    /// Every unit, subordinates after the unit that they belong to.
    pub fn units(&self) -> impl Iterator<Item = (&String, &UnitStatus)> {
        let principals = self.services.values().flat_map(|service| &service.units);
        principals.flat_map(|(name, unit)| std::iter::once((name, unit)).chain(&unit.subordinates))
    }

    /// Those of one service, wherever they are listed: a subordinate's own list is empty.
    pub fn units_of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = (&'a String, &'a UnitStatus)> {
        let own = self.services.get(service).map(|service| &service.units).filter(|units| !units.is_empty());
        let elsewhere = own.is_none().then(|| self.services.values().flat_map(|service| service.units.values()));
        let below = elsewhere.into_iter().flatten().flat_map(|unit| &unit.subordinates);
        let below = below.filter(move |(name, _)| name.split('/').next() == Some(service));
        own.into_iter().flatten().chain(below)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkloadStatusInfo {
    /// `unknown`, `maintenance`, `waiting`, `blocked`, `active` or `error`.
    pub current: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// RFC 3339, UTC, whole seconds.
    pub since: String,
}

/// What `get` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceConfig {
    pub charm: String,
    pub service: String,
    pub settings: IndexMap<String, OptionInfo>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptionInfo {
    /// Whether the value is the charm's default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Grows by one a line; a reader continues after the last it saw.
    pub sequence: u64,
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// `unit-mysql-0`, `machine-1` or `controller`, as Juju writes them.
    pub entity: String,
    /// `DEBUG`, `INFO`, `WARNING` or `ERROR`.
    pub level: String,
    /// What wrote it: a hook's name, `provisioner`, …
    pub module: String,
    pub message: String,
}

/// An event of the `wait` stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum WaitEvent {
    /// An entity's state line changed (or is told for the first time).
    Progress(ProgressLine),
    /// All is as asked: the last event.
    Ready,
    /// It will not get there by itself: the last event. What stands in the way, an entry each.
    Failed { reasons: Vec<String> },
    /// The time is over: the last event. What is still awaited.
    TimedOut { reasons: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressLine {
    /// `machine 1` or `mysql/0`.
    pub entity: String,
    /// The machine a unit lives on, to draw a tree by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// `pending`, `started`, `active`, `maintenance`, `error`, `gone`, …
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What a unit does now, where its message says something else: `running config-changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    /// Nothing more is awaited of it.
    pub settled: bool,
}
