//! The only way in: a [`Change`] is checked against the model and becomes [`Event`]s, or an error.
//!
//! **Invariant:** on an error nothing was changed. Every function here checks first and emits afterwards.

mod act;
mod adopt;
mod constraints;
mod container;
mod deploy;
mod destroy;
mod machine;
mod relate;
mod report;
mod upgrade;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use indexmap::IndexMap;

use super::action::{ActionEnd, MOST_PENDING};
use super::charm::{CharmMeta, CharmUrl};
use super::config::ConfigError;
use super::constraints::Constraints;
use super::entities::{HardwareFacts, Life, Millis, PublishedMapping, Service};
use super::event::{Event, HookWrites};
use super::hook::Hook;
use super::kinds::{KindError, Kinds};
use super::names::{
    ActionId, ActionName, EndpointName, EnvironmentName, MachineId, MachineName, RelationId, ServiceName, UnitName,
};
use super::state::Model;
use super::status::WorkloadStatus;

pub use act::ActionCall;
pub use adopt::Adoption;
pub use destroy::{MachineRefusal, UnitRefusal};
pub use machine::{Cloning, MachineChange, MachineError};

/// Something asked of the model, by an operator or by a worker that reports.
#[derive(Clone, Debug)]
pub enum Change {
    CreateEnvironment {
        name: EnvironmentName,
        series: String,
    },
    /// For the history: a copy of the state is handed out.
    BackUp,
    /// For the history, and so that no machine gets the number of one that the backup does not know of.
    Restore {
        taken: Millis,
        machines: BTreeSet<MachineId>,
    },
    HostFound {
        series: String,
        address: Ipv4Addr,
        hardware: HardwareFacts,
    },
    KindsFound {
        kinds: Kinds,
    },

    Deploy(Box<Deployment>),
    AddUnits {
        service: ServiceName,
        count: u32,
        placement: Placement,
    },
    AddMachines {
        count: u32,
        series: Option<String>,
        constraints: Constraints,
        name: Option<MachineName>,
    },
    AddContainers {
        machine: MachineId,
        count: u32,
        constraints: Constraints,
        name: Option<MachineName>,
    },
    AdoptMachine(Box<Adoption>),
    /// Adopted machines are given back.
    ReleaseMachines {
        machines: Vec<MachineId>,
    },
    /// Of a service, or of the whole environment. Machines that are there stay as they are.
    SetConstraints {
        service: Option<ServiceName>,
        constraints: Constraints,
    },
    AddRelation {
        one: EndpointRef,
        other: EndpointRef,
    },
    Expose {
        service: ServiceName,
        published: BTreeSet<PublishedMapping>,
    },
    Unexpose {
        service: ServiceName,
    },
    SetConfig {
        service: ServiceName,
        values: IndexMap<String, serde_json::Value>,
    },
    UpgradeCharm(Box<Upgrade>),
    DestroyRelation {
        one: EndpointRef,
        other: EndpointRef,
        force: bool,
    },
    /// Run the failed hook again, or count it as run.
    Resolve {
        unit: UnitName,
        retry: bool,
    },
    RetryProvisioning {
        machines: Vec<MachineId>,
    },
    /// Back to the defaults; `generated` as in [`Deployment`].
    UnsetConfig {
        service: ServiceName,
        keys: Vec<String>,
        generated: IndexMap<String, String>,
    },
    DestroyUnits {
        units: Vec<UnitName>,
        force: bool,
    },
    DestroyServices {
        services: Vec<ServiceName>,
        force: bool,
    },
    DestroyMachines {
        machines: Vec<MachineId>,
        force: bool,
    },

    /// Machines that are there: stopped, copied, set back.
    Machine(MachineChange),

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
    /// The instance of a dying machine is gone.
    MachineGone {
        machine: MachineId,
    },
    AdmitScope {
        unit: UnitName,
        relation: RelationId,
    },
    LeaveScope {
        unit: UnitName,
        relation: RelationId,
    },
    CommitHook {
        unit: UnitName,
        hook: Hook,
        writes: Box<HookWrites>,
    },
    FailHook {
        unit: UnitName,
        hook: Hook,
        message: String,
    },
    SetStatus {
        unit: UnitName,
        status: WorkloadStatus,
    },
    /// A dying unit has nothing left to do.
    UnitDone {
        unit: UnitName,
    },

    QueueAction(Box<ActionCall>),
    /// Those that wait are over at once, those that run are ended.
    CancelActions {
        actions: Vec<ActionId>,
    },
    StartAction {
        action: ActionId,
    },
    EndAction {
        action: ActionId,
        end: ActionEnd,
        writes: Box<HookWrites>,
    },
}

#[derive(Clone, Debug)]
pub struct Deployment {
    pub service: ServiceName,
    pub charm: CharmMeta,
    /// Names the content of the charm.
    pub digest: String,
    pub units: u32,
    pub placement: Placement,
    /// As typed (strings), or typed already (from YAML).
    pub config: IndexMap<String, serde_json::Value>,
    /// A random value for each option that wants one.
    pub generated: IndexMap<String, String>,
    pub constraints: Constraints,
    pub expose: bool,
}

#[derive(Clone, Debug)]
pub struct Upgrade {
    pub service: ServiceName,
    pub charm: CharmMeta,
    pub digest: String,
    /// As in [`Deployment`].
    pub generated: IndexMap<String, String>,
    /// Units in error are upgraded too, and their hooks tried again.
    pub force: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A machine that never hosted a unit and fits, else a new one.
    Automatic,
    New,
    /// A new machine of the kind that this word means.
    Kind(String),
    On(MachineId),
    /// A new container on this machine.
    Inside(MachineId),
}

/// `service` or `service:endpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRef {
    pub service: ServiceName,
    pub endpoint: Option<EndpointName>,
}

/// Most units or machines that one change adds: a network holds about as many machines, and a slip of the finger must
/// not keep the controller busy for an hour.
pub const MOST_AT_ONCE: u32 = 1000;

/// Why a change was refused. Words are Juju's where Juju has any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("service \"{0}\" not found")]
    NoService(ServiceName),
    #[error("unit \"{0}\" not found")]
    NoUnit(UnitName),
    #[error("machine {0} not found")]
    NoMachine(MachineId),
    #[error("cannot add service \"{0}\": service already exists")]
    ServiceExists(ServiceName),
    #[error("cannot add service \"{0}\": a service of that name is still being removed")]
    ServiceStillDying(ServiceName),
    #[error("cannot add unit to service \"{0}\": service is not alive")]
    ServiceNotAlive(ServiceName),
    #[error("cannot add unit to service \"{0}\": service is a subordinate")]
    ServiceIsSubordinate(ServiceName),
    #[error("cannot use --num-units or --to with subordinate service")]
    UnitsOfSubordinate,
    #[error("cannot use --constraints with subordinate service")]
    SubordinateWithConstraints,
    #[error("--num-units must be a positive integer")]
    NoUnits,
    #[error("cannot add {asked} at once: the most is {MOST_AT_ONCE}")]
    TooMany { asked: u32 },
    #[error("cannot use --num-units > 1 with --to")]
    SeveralToOneMachine,
    #[error("cannot assign unit \"{unit}\" to machine {machine}: {reason}")]
    CannotAssign { unit: String, machine: MachineId, reason: &'static str },
    #[error("cannot add a container to machine {machine}: {reason}")]
    CannotHost { machine: MachineId, reason: &'static str },
    #[error("cannot satisfy arch={wanted}: this host is {host}")]
    Arch { wanted: String, host: String },
    #[error(transparent)]
    Kind(#[from] KindError),
    #[error("cannot set constraints: service \"{0}\" is not alive")]
    ConstraintsOfDying(ServiceName),
    #[error("constraints do not apply to subordinate services")]
    ConstraintsOfSubordinate,
    #[error("charm \"{charm}\" does not support series \"{series}\"")]
    Series { charm: String, series: String, known: Vec<String> },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("no settings were given")]
    NoSettings,
    #[error("a relation must involve two services")]
    OneService,
    #[error("service \"{service}\" has no \"{endpoint}\" relation")]
    NoEndpoint { service: ServiceName, endpoint: EndpointName, known: Vec<String> },
    #[error("no relations found")]
    NoCommonInterface { one: String, other: String, one_has: Vec<String>, other_has: Vec<String> },
    #[error("ambiguous relation: \"{asked}\" could refer to {}", candidates.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join("; "))]
    Ambiguous { asked: String, candidates: Vec<String> },
    #[error("cannot add relation \"{0}\": relation already exists")]
    RelationExists(String),
    #[error("cannot add relation \"{key}\": service \"{service}\" is not alive")]
    RelationToDying { key: String, service: ServiceName },
    #[error("cannot add relation \"{key}\": endpoints do not relate")]
    EndpointsDoNotRelate { key: String },
    #[error("cannot add relation \"{0}\": container scoped relation requires at least one subordinate service")]
    NoSubordinate(String),
    #[error("cannot add relation \"{0}\": principal and subordinate services' series must match")]
    SeriesOfSubordinate(String),
    #[error("cannot publish host port {port}: service \"{service}\" publishes it already")]
    HostPortTaken { port: u16, service: ServiceName },
    #[error("cannot upgrade service \"{service}\" to charm \"{charm}\": {reason}")]
    CannotUpgrade { service: ServiceName, charm: String, reason: String },
    #[error("already running latest charm \"{0}\"")]
    SameCharm(CharmUrl),
    #[error("relation \"{0}\" not found")]
    NoRelation(String),
    #[error("cannot destroy relation \"{0}\": is a peer relation")]
    PeerRelation(String),
    #[error("unit \"{0}\" is not in an error state")]
    UnitNotInError(UnitName),
    #[error("cannot set resolved mode for unit \"{0}\": already resolved")]
    AlreadyResolved(UnitName),
    #[error("machine {0} is not in an error state")]
    MachineNotInError(MachineId),
    #[error("no machines were destroyed: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoMachinesDestroyed(Vec<MachineRefusal>),
    #[error("no machines were released: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoMachinesReleased(Vec<MachineRefusal>),
    #[error("cannot adopt {what}: it is machine {machine} already")]
    AlreadyAdopted { what: String, machine: MachineId },
    #[error("no units were destroyed: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoUnitsDestroyed(Vec<UnitRefusal>),
    #[error("unit \"{0}\" is not alive")]
    UnitNotAlive(UnitName),
    #[error("action \"{action}\" not defined on service \"{service}\"")]
    NoAction { action: ActionName, service: ServiceName, known: Vec<String> },
    #[error("action \"{action}\": {error}")]
    ActionParams { action: ActionName, error: ConfigError },
    #[error("action \"{action}\": parameter \"{param}\" is missing")]
    NoParam { action: ActionName, param: String },
    #[error("{MOST_PENDING} actions are waiting already")]
    TooManyActions,
    #[error("the timeout of an action is from 1 second to 24 hours")]
    ActionTimeout,
    #[error("action {0} not found")]
    NoActionId(ActionId),
    #[error("action {action} is {state} already")]
    ActionOver { action: ActionId, state: &'static str },
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("the environment exists already")]
    EnvironmentExists,
    /// A worker reported on something that has gone meanwhile: nothing to do.
    #[error("{0} is not there any more")]
    Outdated(String),
}

impl Model {
    /// Checks the change and carries it out in memory; the caller makes the events durable.
    ///
    /// # Errors
    /// [`ChangeError`]; the model is then unchanged.
    pub fn change(&mut self, change: Change, at: Millis) -> Result<Vec<Event>, ChangeError> {
        let mut decider = Decider { model: self, at, events: Vec::new() };
        decider.decide(change)?;
        Ok(decider.events)
    }
}

/// Applies each event as it is emitted, so that later decisions of the same change see it.
struct Decider<'a> {
    model: &'a mut Model,
    at: Millis,
    events: Vec<Event>,
}

impl Decider<'_> {
    fn emit(&mut self, event: Event) {
        self.model.apply(&event, self.at);
        self.events.push(event);
    }

    fn decide(&mut self, change: Change) -> Result<(), ChangeError> {
        match change {
            Change::CreateEnvironment { name, series } => {
                if self.model.environment.is_some() {
                    return Err(ChangeError::EnvironmentExists);
                }
                self.emit(Event::EnvironmentCreated { name, series });
                Ok(())
            }
            Change::BackUp => {
                self.emit(Event::EnvironmentBackedUp {});
                Ok(())
            }
            Change::Restore { taken, machines } => {
                self.emit(Event::EnvironmentRestored { taken, machines });
                Ok(())
            }
            Change::HostFound { series, address, hardware } => {
                self.host_found(series, address, hardware);
                Ok(())
            }
            Change::KindsFound { kinds } => {
                self.kinds_found(kinds);
                Ok(())
            }
            Change::Deploy(deployment) => self.deploy(*deployment),
            Change::AddUnits { service, count, placement } => self.add_units(&service, count, &placement),
            Change::AddMachines { count, series, constraints, name } => {
                self.add_machines((count, name), series, &constraints)
            }
            Change::AddContainers { machine, count, constraints, name } => {
                self.add_containers(machine, (count, name), &constraints)
            }
            Change::AdoptMachine(adoption) => self.adopt_machine(*adoption),
            Change::ReleaseMachines { machines } => self.release_machines(&machines),
            Change::Machine(change) => self.machine_change(change),
            Change::SetConstraints { service, constraints } => self.set_constraints(service, constraints),
            Change::AddRelation { one, other } => self.add_relation(&one, &other),
            Change::Expose { service, published } => self.expose(service, published),
            Change::Unexpose { service } => self.unexpose(service),
            Change::SetConfig { service, values } => self.set_config(service, &values),
            Change::UnsetConfig { service, keys, generated } => self.unset_config(service, &keys, &generated),
            Change::UpgradeCharm(upgrade) => {
                let Upgrade { service, charm, digest, generated, force } = *upgrade;
                self.upgrade_charm(&service, (charm, digest), &generated, force)
            }
            Change::DestroyRelation { one, other, force } => self.destroy_relation(&one, &other, force),
            Change::Resolve { unit, retry } => self.resolve(unit, retry),
            Change::RetryProvisioning { machines } => self.retry_provisioning(&machines),
            Change::DestroyUnits { units, force } => self.destroy_units(&units, force),
            Change::DestroyServices { services, force } => self.destroy_services(&services, force),
            Change::DestroyMachines { machines, force } => self.destroy_machines(&machines, force),
            Change::QueueAction(call) => self.queue_action(*call),
            Change::CancelActions { actions } => self.cancel_actions(&actions),
            Change::StartAction { action } => self.start_action(action),
            Change::EndAction { action, end, writes } => self.end_action(action, end, *writes),
            report => self.report(report),
        }
    }

    fn service(&self, name: &ServiceName) -> Result<&Service, ChangeError> {
        self.model.services.get(name).ok_or_else(|| ChangeError::NoService(name.clone()))
    }

    fn expose(&mut self, name: ServiceName, published: BTreeSet<PublishedMapping>) -> Result<(), ChangeError> {
        let service = self.service(&name)?;
        if service.exposed && service.published == published {
            return Ok(());
        }
        for mapping in &published {
            let holds = |other: &&Service| {
                let same = |held: &PublishedMapping| {
                    held.host_port == mapping.host_port && held.port.protocol == mapping.port.protocol
                };
                other.name != name && other.published.iter().any(same)
            };
            if let Some(other) = self.model.services.values().find(holds) {
                return Err(ChangeError::HostPortTaken { port: mapping.host_port, service: other.name.clone() });
            }
        }
        self.emit(Event::ServiceExposed { service: name, published });
        Ok(())
    }

    fn unexpose(&mut self, name: ServiceName) -> Result<(), ChangeError> {
        if self.service(&name)?.exposed {
            self.emit(Event::ServiceUnexposed { service: name });
        }
        Ok(())
    }

    fn host_found(&mut self, series: String, address: Ipv4Addr, hardware: HardwareFacts) {
        use super::entities::Provision;
        let known = self.model.machines.get(&MachineId::HOST);
        let same = known.is_some_and(|host| {
            host.series == series && host.provision == Provision::Host { address, hardware: hardware.clone() }
        });
        if !same {
            self.emit(Event::HostFound { series, address, hardware });
        }
    }

    fn alive(&self, name: &ServiceName) -> Result<&Service, ChangeError> {
        let service = self.service(name)?;
        if service.life == Life::Alive { Ok(service) } else { Err(ChangeError::ServiceNotAlive(name.clone())) }
    }
}
