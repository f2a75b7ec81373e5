//! Whom an event concerns, so that nobody has to look through the whole model for work.

use std::collections::BTreeSet;

use crate::model::{Event, Hook, HookWrites, MachineId, Model, RelationHook, RelationId, ServiceName, UnitName};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    pub machines: BTreeSet<MachineId>,
    pub units: BTreeSet<UnitName>,
    /// Units whose actions may have become due.
    pub actions: BTreeSet<UnitName>,
    /// A unit is gone, a machine is to go or an action is cancelled: whatever runs for it is to be ended.
    pub departure: bool,
    /// What is open to the outside may have changed.
    pub exposure: bool,
}

impl Concerned {
    /// Everyone: after a start, when nobody knows what was missed.
    pub fn everyone(model: &Model) -> Concerned {
        Concerned {
            machines: model.machines.keys().copied().collect(),
            units: model.units.keys().cloned().collect(),
            actions: model.units.values().filter(|unit| !unit.actions.is_empty()).map(|u| u.name.clone()).collect(),
            departure: false,
            exposure: true,
        }
    }

    /// Adds whom `event` concerns. `model` is the one after the event.
    pub fn add(&mut self, model: &Model, event: &Event) {
        match event {
            // After a restore a controller starts, and nudges everyone.
            Event::EnvironmentCreated { .. }
            | Event::EnvironmentBackedUp {}
            | Event::EnvironmentRestored { .. }
            | Event::HostFound { .. }
            | Event::KindsFound { .. }
            | Event::CharmAdded { .. }
            | Event::CharmRemoved { .. }
            | Event::ServiceAdded { .. }
            | Event::ServiceDying { .. }
            | Event::ConstraintsSet { .. }
            | Event::UnitStatusSet { .. } => {}
            // So that its agent sees to the next try.
            Event::HookFailed { unit, .. } | Event::HookRetried { unit } => self.unit(model, unit),
            Event::MachineFailed { machine, .. } => {
                self.machines.insert(*machine);
                self.origin_of(model, *machine);
            }
            Event::MachineAdded { machine, .. }
            | Event::MachineAdopted { machine, .. }
            | Event::MachineRetried { machine } => {
                self.machines.insert(*machine);
            }
            // Its worker; and one who waits to do the opposite is to stop waiting.
            Event::MachineStopAsked { machine }
            | Event::MachineStartAsked { machine }
            | Event::MachineRestartAsked { machine }
            | Event::MachineRestoreAsked { machine, .. } => {
                self.machines.insert(*machine);
                self.departure = true;
            }
            // It adds to what has just happened.
            Event::MachineNamed { .. } | Event::MachineCloned { .. } => {}
            Event::SnapshotTaken { .. } | Event::SnapshotDropped { .. } => {}
            Event::MachineHalted { machine } => {
                self.machines.insert(*machine);
            }
            // Its units have waited for that.
            Event::MachineUp { machine }
            | Event::MachineRestored { machine, .. }
            | Event::MachineRestoreFailed { machine, .. } => {
                self.machines.insert(*machine);
                self.units_on(model, *machine);
            }
            Event::MachineDying { machine } | Event::MachineRemoved { machine } => {
                self.machines.insert(*machine);
                self.origin_of(model, *machine);
                // It may have waited for this container to go.
                self.machines.extend(machine.host());
                self.departure = true;
            }
            Event::MachineProvisioned { machine, .. } => {
                self.machines.insert(*machine);
                self.exposure = true;
                self.units_on(model, *machine);
                self.origin_of(model, *machine);
            }
            Event::ServiceConfigured { service, .. }
            | Event::ServiceUnset { service, .. }
            | Event::ServiceUpgraded { service, .. } => {
                self.units_of(model, service);
            }
            Event::ServiceExposed { .. } | Event::ServiceUnexposed { .. } | Event::ServiceRemoved { .. } => {
                self.exposure = true;
            }
            Event::UnitAdded { unit, machine, .. } => {
                self.units.insert(unit.clone());
                self.machines.insert(*machine);
            }
            Event::UnitDying { unit } => {
                self.units.insert(unit.clone());
                self.leader_after(model, unit);
            }
            Event::UnitRemoved { unit, principal } => {
                self.units.extend(principal.clone());
                self.departure = true;
                self.exposure = true;
                self.leader_after(model, unit);
                self.everyone_related_to(model, unit);
            }
            Event::RelationAdded { relation, .. }
            | Event::RelationDying { relation }
            | Event::RelationRemoved { relation } => self.units_of_services(model, *relation),
            Event::ScopeAdmitted { unit, .. } => {
                self.units.insert(unit.clone());
            }
            Event::ScopeLeft { unit, relation } => {
                self.units.insert(unit.clone());
                self.remotes(model, *relation, unit);
            }
            Event::HookCommitted { unit, hook, writes } => {
                self.unit(model, unit);
                self.seen(model, unit, writes);
                self.after(model, unit, hook);
            }
            Event::HookSkipped { unit, hook, .. } => {
                self.unit(model, unit);
                self.after(model, unit, hook);
            }
            Event::ActionQueued { unit, .. } => {
                self.actions.insert(unit.clone());
            }
            // By the agent that runs it.
            Event::ActionStarted { .. } => {}
            Event::ActionCancelled { .. } => self.departure = true,
            Event::ActionEnded { unit, writes, .. } => self.seen(model, unit, writes),
        }
    }

    fn units_on(&mut self, model: &Model, machine: MachineId) {
        let units = model.machines.get(&machine).into_iter().flat_map(|machine| &machine.units);
        units.for_each(|unit| self.unit(model, unit));
    }

    /// What a copy is made of may have waited for that to go.
    fn origin_of(&mut self, model: &Model, copy: MachineId) {
        self.machines.extend(model.machines.get(&copy).and_then(|machine| machine.copy_of));
    }

    fn unit(&mut self, model: &Model, name: &UnitName) {
        self.units.insert(name.clone());
        if model.units.get(name).is_some_and(|unit| !unit.actions.is_empty()) {
            self.actions.insert(name.clone());
        }
    }

    /// Who sees what a hook or an action of the unit wrote.
    fn seen(&mut self, model: &Model, unit: &UnitName, writes: &HookWrites) {
        self.exposure |= !writes.opened.is_empty() || !writes.closed.is_empty();
        for relation in writes.settings.keys() {
            self.remotes(model, *relation, unit);
        }
        if !writes.leader.is_empty() {
            self.units_of(model, &unit.service);
        }
    }

    /// After these hooks others see the unit come or go.
    fn after(&mut self, model: &Model, unit: &UnitName, hook: &Hook) {
        match hook {
            Hook::Start => self.everyone_related_to(model, unit),
            Hook::Relation { relation, kind: RelationHook::Created | RelationHook::Broken, .. } => {
                self.remotes(model, *relation, unit);
            }
            _ => {}
        }
    }

    /// Who speaks for the service now that this unit goes.
    fn leader_after(&mut self, model: &Model, unit: &UnitName) {
        let service = model.services.get(&unit.service);
        self.units.extend(service.and_then(|service| model.leader(service)));
    }

    fn everyone_related_to(&mut self, model: &Model, unit: &UnitName) {
        let Some(service) = model.services.get(&unit.service) else { return };
        for relation in &service.relations {
            self.remotes(model, *relation, unit);
        }
    }

    fn remotes(&mut self, model: &Model, relation: RelationId, unit: &UnitName) {
        if let Some(relation) = model.relations.get(&relation) {
            self.units.extend(relation.remotes_of(unit).map(|(name, _)| name.clone()));
        }
    }

    fn units_of_services(&mut self, model: &Model, relation: RelationId) {
        let Some(relation) = model.relations.get(&relation) else { return };
        for endpoint in &relation.endpoints {
            self.units_of(model, &endpoint.service);
        }
    }

    fn units_of(&mut self, model: &Model, service: &ServiceName) {
        let Some(service) = model.services.get(service) else { return };
        let names = service.units.iter().map(|number| UnitName { service: service.name.clone(), number: *number });
        self.units.extend(names);
    }
}
