//! The whole of what the journal adds up to, and the only thing that changes it: [`Model::apply`].

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::charm::{CharmMeta, CharmUrl};
use super::config::{self, ConfigValue};
use super::constraints::Constraints;
use super::entities::{
    FailedHook, Life, Machine, Member, Millis, Power, Presence, Provision, Relation, Service, Unit, UnitScope,
};
use super::event::Event;
use super::hook::Hook;
use super::kinds::Kinds;
use super::names::{ActionId, EnvironmentName, MachineId, RelationId, ServiceName, UnitName};
use super::settings::Settings;
use super::status::{WorkloadState, WorkloadStatus};

/// A version of a charm that the environment knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charm {
    pub url: CharmUrl,
    /// Names its files in the controller's charm folder.
    pub digest: String,
    pub meta: CharmMeta,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    pub environment: Option<EnvironmentName>,
    /// Release of new machines.
    pub series: String,
    pub machines: BTreeMap<MachineId, Machine>,
    #[serde(with = "charm_list")]
    pub charms: BTreeMap<CharmUrl, Charm>,
    pub services: BTreeMap<ServiceName, Service>,
    pub units: BTreeMap<UnitName, Unit>,
    pub relations: BTreeMap<RelationId, Relation>,
    /// Machines that never hosted a unit, so that placing a unit does not cost more as the model grows.
    pub unused: BTreeSet<MachineId>,
    pub next_machine: u32,
    /// What machines can be.
    #[serde(default)]
    pub kinds: Kinds,
    /// What machines must be like of which their service says nothing else.
    #[serde(default)]
    pub constraints: Constraints,
    pub next_relation: u32,
    /// Kept when a service goes, so that unit numbers are never reused.
    pub next_unit: BTreeMap<ServiceName, u32>,
    pub next_revision: BTreeMap<String, u32>,
    /// Those that wait or run, and the newest of those that are over.
    #[serde(default)]
    pub actions: BTreeMap<ActionId, Action>,
    #[serde(default)]
    pub next_action: u32,
}

/// JSON has only text keys: charms are stored as a list.
mod charm_list {
    use super::{BTreeMap, Charm, CharmUrl};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(charms: &BTreeMap<CharmUrl, Charm>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(charms.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<CharmUrl, Charm>, D::Error> {
        let charms = Vec::<Charm>::deserialize(deserializer)?;
        Ok(charms.into_iter().map(|charm| (charm.url.clone(), charm)).collect())
    }
}

impl Model {
    /// Carries out what has happened. Total: an event about something that is not there changes nothing, so that a
    /// journal can always be read; [`super::check`] finds what should not be.
    pub fn apply(&mut self, event: &Event, at: Millis) {
        match event {
            Event::EnvironmentCreated { name, series } => {
                self.environment = Some(name.clone());
                self.series = series.clone();
                self.next_machine = 1;
            }
            Event::EnvironmentBackedUp {} => {}
            Event::EnvironmentRestored { machines, .. } => {
                machines.iter().for_each(|machine| self.number_is_given(*machine));
            }
            Event::KindsFound { kinds } => self.find_kinds(kinds),
            Event::HostFound { .. }
            | Event::MachineAdded { .. }
            | Event::MachineAdopted { .. }
            | Event::MachineProvisioned { .. }
            | Event::MachineFailed { .. }
            | Event::MachineRetried { .. }
            | Event::MachineDying { .. }
            | Event::MachineRemoved { .. } => self.apply_machine(event),
            Event::MachineNamed { .. }
            | Event::MachineCloned { .. }
            | Event::MachineStopAsked { .. }
            | Event::MachineStartAsked { .. }
            | Event::MachineRestartAsked { .. }
            | Event::MachineHalted { .. }
            | Event::MachineUp { .. }
            | Event::MachineRestoreAsked { .. }
            | Event::MachineRestored { .. }
            | Event::MachineRestoreFailed { .. }
            | Event::SnapshotTaken { .. }
            | Event::SnapshotDropped { .. } => self.apply_wish(event),
            Event::ConstraintsSet { service: None, constraints } => self.constraints = constraints.clone(),
            Event::ConstraintsSet { service: Some(service), constraints } => {
                if let Some(service) = self.services.get_mut(service) {
                    service.constraints = constraints.clone();
                }
            }
            Event::CharmAdded { url, digest, meta } => {
                let key = format!("{}/{}", url.series, url.name);
                self.next_revision.insert(key, url.revision + 1);
                let charm = Charm { url: url.clone(), digest: digest.clone(), meta: (**meta).clone() };
                self.charms.insert(url.clone(), charm);
            }
            Event::CharmRemoved { url } => {
                self.charms.remove(url);
            }
            Event::ServiceAdded { .. }
            | Event::ServiceConfigured { .. }
            | Event::ServiceUnset { .. }
            | Event::ServiceUpgraded { .. }
            | Event::ServiceExposed { .. }
            | Event::ServiceUnexposed { .. }
            | Event::ServiceDying { .. }
            | Event::ServiceRemoved { .. } => self.apply_service(event),
            Event::UnitAdded { unit, machine, principal } => self.add_unit(unit, (*machine, principal.clone()), at),
            Event::UnitStatusSet { unit, status } => {
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.set_workload(status.clone(), at);
                }
            }
            Event::UnitDying { unit } => {
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.life = Life::Dying;
                }
                self.drop_queued_actions(unit, at);
            }
            Event::UnitRemoved { unit, .. } => {
                self.drop_actions(unit, at);
                self.remove_unit(unit);
            }
            Event::RelationAdded { .. }
            | Event::RelationDying { .. }
            | Event::RelationRemoved { .. }
            | Event::ScopeAdmitted { .. }
            | Event::ScopeLeft { .. } => self.apply_relation(event),
            Event::HookCommitted { unit, hook, writes } => self.commit_hook(unit, hook, writes),
            Event::HookSkipped { unit, hook, .. } => {
                let writes = self.writes_of_skipped(unit, hook);
                self.commit_hook(unit, hook, &writes);
            }
            Event::HookFailed { unit, hook, message } => {
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.failed = Some(FailedHook { hook: hook.clone(), message: message.clone(), at });
                    unit.failures += 1;
                    unit.retried = None;
                }
            }
            Event::HookRetried { unit } => {
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.retried = unit.failed.take().map(|failed| failed.hook);
                }
            }
            Event::ActionQueued { .. }
            | Event::ActionStarted { .. }
            | Event::ActionCancelled { .. }
            | Event::ActionEnded { .. } => self.apply_action(event, at),
        }
    }

    fn apply_machine(&mut self, event: &Event) {
        match event {
            Event::HostFound { series, address, hardware } => {
                let provision = Provision::Host { address: *address, hardware: hardware.clone() };
                let host = self.machines.entry(MachineId::HOST).or_insert_with(|| new_machine(MachineId::HOST));
                host.series = series.clone();
                host.provision = provision;
            }
            Event::MachineAdded { machine, series, constraints } => {
                self.number_is_given(*machine);
                let added =
                    Machine { series: series.clone(), constraints: constraints.clone(), ..new_machine(*machine) };
                self.machines.insert(*machine, added);
                self.unused.insert(*machine);
            }
            Event::MachineAdopted { machine, series, constraints, adopted } => {
                self.number_is_given(*machine);
                let added = Machine {
                    series: series.clone(),
                    constraints: constraints.clone(),
                    used: true,
                    adopted: Some(adopted.clone()),
                    ..new_machine(*machine)
                };
                self.machines.insert(*machine, added);
            }
            Event::MachineProvisioned { machine, instance, address, hardware, prepared } => {
                self.copy_is_over(*machine);
                if let Some(machine) = self.machines.get_mut(machine) {
                    machine.provision = Provision::Running {
                        instance: instance.clone(),
                        address: *address,
                        hardware: hardware.clone(),
                        prepared: prepared.clone(),
                    };
                }
            }
            Event::MachineFailed { machine, message } => {
                self.copy_is_over(*machine);
                if let Some(machine) = self.machines.get_mut(machine) {
                    machine.provision = Provision::Failed { message: message.clone() };
                }
            }
            Event::MachineRetried { machine } => {
                if let Some(machine) = self.machines.get_mut(machine) {
                    machine.provision = Provision::Pending;
                }
                self.copy_is_due(*machine);
            }
            Event::MachineDying { machine } => {
                self.copy_is_over(*machine);
                if let Some(machine) = self.machines.get_mut(machine) {
                    machine.life = Life::Dying;
                }
            }
            Event::MachineRemoved { machine } => {
                self.machines.remove(machine);
                self.unused.remove(machine);
            }
            _ => {}
        }
    }

    fn apply_service(&mut self, event: &Event) {
        if let Event::ServiceAdded { service, charm, config, constraints } = event {
            let added = Service {
                name: service.clone(),
                life: Life::Alive,
                charm: charm.clone(),
                config: config.clone(),
                config_version: 1,
                constraints: constraints.clone(),
                exposed: false,
                published: Default::default(),
                units: Default::default(),
                relations: Default::default(),
                leader_settings: Default::default(),
                leader_version: 0,
            };
            self.services.insert(service.clone(), added);
            return;
        }
        if let Event::ServiceUpgraded { service, charm, config } = event {
            self.upgrade_service(service, charm, config);
            return;
        }
        if let Event::ServiceRemoved { service } = event {
            self.services.remove(service);
            return;
        }
        let (Event::ServiceConfigured { service, .. }
        | Event::ServiceUnset { service, .. }
        | Event::ServiceExposed { service, .. }
        | Event::ServiceUnexposed { service }
        | Event::ServiceDying { service }) = event
        else {
            return;
        };
        let Some(service) = self.services.get_mut(service) else { return };
        match event {
            Event::ServiceConfigured { changes, .. } => {
                service.config.extend(changes.clone());
                service.config_version += 1;
            }
            Event::ServiceUnset { keys, .. } => {
                service.config.retain(|key, _| !keys.contains(key));
                service.config_version += 1;
            }
            Event::ServiceExposed { published, .. } => {
                service.exposed = true;
                service.published = published.clone();
            }
            Event::ServiceUnexposed { .. } => {
                service.exposed = false;
                service.published.clear();
            }
            Event::ServiceDying { .. } => service.life = Life::Dying,
            _ => {}
        }
    }

    fn upgrade_service(&mut self, name: &ServiceName, charm: &CharmUrl, config: &IndexMap<String, ConfigValue>) {
        let Some(service) = self.services.get_mut(name) else { return };
        // What was written while the charm did not ask for it is not news for its next version.
        let told = self.charms.get(&service.charm).is_none_or(|old| !old.meta.declares(&Hook::LeaderSettingsChanged));
        let leader_seen = told.then_some(service.leader_version);
        service.charm = charm.clone();
        service.config = config.clone();
        service.config_version += 1;
        for number in &service.units {
            let unit = UnitName { service: name.clone(), number: *number };
            if let Some(unit) = self.units.get_mut(&unit) {
                unit.charm = charm.clone();
                unit.prepared_in_place = false;
                unit.upgrading = unit.installed;
                if unit.started && leader_seen.is_some() {
                    unit.leader_seen = leader_seen;
                }
            }
        }
    }

    fn apply_relation(&mut self, event: &Event) {
        match event {
            Event::RelationAdded { relation, endpoints } => {
                self.next_relation = self.next_relation.max(relation.0 + 1);
                for endpoint in endpoints {
                    if let Some(service) = self.services.get_mut(&endpoint.service) {
                        service.relations.insert(*relation);
                    }
                }
                let added = Relation {
                    id: *relation,
                    life: Life::Alive,
                    endpoints: endpoints.clone(),
                    members: BTreeMap::new(),
                };
                self.relations.insert(*relation, added);
            }
            Event::RelationDying { relation } => {
                if let Some(relation) = self.relations.get_mut(relation) {
                    relation.life = Life::Dying;
                }
            }
            Event::RelationRemoved { relation } => {
                let Some(removed) = self.relations.remove(relation) else { return };
                for endpoint in &removed.endpoints {
                    if let Some(service) = self.services.get_mut(&endpoint.service) {
                        service.relations.remove(relation);
                    }
                }
            }
            Event::ScopeAdmitted { unit, relation } => self.admit(unit, *relation),
            Event::ScopeLeft { unit, relation } => self.leave_scope(unit, *relation),
            _ => {}
        }
    }

    fn admit(&mut self, name: &UnitName, id: RelationId) {
        let opposite = self.opposite(name, id);
        let (Some(unit), Some(relation)) = (self.units.get_mut(name), self.relations.get_mut(&id)) else { return };
        unit.scopes.entry(id).or_default();
        if let Some(other) = opposite.as_ref().and_then(|other| relation.members.get_mut(other)) {
            other.opposite = Some(name.clone());
        }
        let (presence, settings) = (Presence::Admitted, Settings::new());
        let member = Member { presence, settings, version: 1, opposite };
        relation.members.entry(name.clone()).or_insert(member);
    }

    fn add_unit(&mut self, name: &UnitName, (machine, principal): (MachineId, Option<UnitName>), at: Millis) {
        let Some(service) = self.services.get_mut(&name.service) else { return };
        service.units.insert(name.number);
        let next = self.next_unit.entry(name.service.clone()).or_insert(0);
        *next = (*next).max(name.number + 1);
        if let Some(host) = self.machines.get_mut(&machine) {
            host.units.insert(name.clone());
            host.used = true;
        }
        self.unused.remove(&machine);
        if let Some(principal) = principal.as_ref().and_then(|principal| self.units.get_mut(principal)) {
            principal.subordinates.insert(name.clone());
        }
        let unit = Unit {
            name: name.clone(),
            life: Life::Alive,
            machine,
            principal,
            subordinates: BTreeSet::new(),
            charm: service.charm.clone(),
            workload: WorkloadStatus { state: WorkloadState::Unknown, message: String::new() },
            workload_since: at,
            open_ports: Default::default(),
            state: Default::default(),
            prepared_in_place: false,
            installed: false,
            upgrading: false,
            elected: false,
            leader_seen: None,
            started: false,
            stopped: false,
            config_seen: None,
            scopes: BTreeMap::new(),
            failed: None,
            retried: None,
            failures: 0,
            actions: BTreeSet::new(),
        };
        self.units.insert(name.clone(), unit);
    }

    fn remove_unit(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get(name) else { return };
        let scopes: Vec<RelationId> = unit.scopes.keys().copied().collect();
        for relation in scopes {
            self.leave_scope(name, relation);
        }
        let Some(unit) = self.units.remove(name) else { return };
        if let Some(principal) = unit.principal.as_ref().and_then(|principal| self.units.get_mut(principal)) {
            principal.subordinates.remove(name);
        }
        if let Some(machine) = self.machines.get_mut(&unit.machine) {
            machine.units.remove(name);
        }
        if let Some(service) = self.services.get_mut(&name.service) {
            service.units.remove(&name.number);
        }
    }

    pub fn charm_of(&self, unit: &Unit) -> Option<&Charm> {
        self.charms.get(&unit.charm)
    }

    pub fn units_of<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Unit> + 'a {
        let name = |number: &u32| UnitName { service: service.name.clone(), number: *number };
        service.units.iter().filter_map(move |number| self.units.get(&name(number)))
    }

    /// What a hook of this service sees.
    pub fn effective_config(&self, service: &Service) -> indexmap::IndexMap<String, ConfigValue> {
        match self.charms.get(&service.charm) {
            Some(charm) => config::effective(&charm.meta.config, &service.config),
            None => service.config.clone(),
        }
    }

    /// The unit that speaks for its service: the lowest that is alive.
    pub fn leader(&self, service: &Service) -> Option<UnitName> {
        let names = service.units.iter().map(|number| UnitName { service: service.name.clone(), number: *number });
        names.into_iter().find(|name| self.units.get(name).is_some_and(|unit| unit.life == Life::Alive))
    }
}

impl Unit {
    pub fn set_workload(&mut self, status: WorkloadStatus, at: Millis) {
        if status.state != self.workload.state {
            self.workload_since = at;
        }
        self.workload = status;
    }

    /// What it knows of a relation, if it was admitted to it.
    pub fn scope(&self, relation: RelationId) -> Option<&UnitScope> {
        self.scopes.get(&relation)
    }
}

fn new_machine(id: MachineId) -> Machine {
    Machine {
        id,
        life: Life::Alive,
        series: String::new(),
        constraints: Default::default(),
        provision: Provision::Pending,
        units: Default::default(),
        used: false,
        next_container: 0,
        name: None,
        power: Power::On,
        copy_of: None,
        copies_due: BTreeSet::new(),
        restore: None,
        adopted: None,
    }
}
