//! Whom an event concerns, so that nobody has to look through the whole model for work.

use std::collections::BTreeSet;

use crate::model::{Event, Hook, MachineId, Model, RelationHook, RelationId, ServiceName, UnitName};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    pub machines: BTreeSet<MachineId>,
    pub units: BTreeSet<UnitName>,
    /// A unit is gone or a machine is to go: whatever runs for it is to be ended.
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
            departure: false,
            exposure: true,
        }
    }

    /// Adds whom `event` concerns. `model` is the one after the event.
    pub fn add(&mut self, model: &Model, event: &Event) {
        match event {
            Event::EnvironmentCreated { .. }
            | Event::HostFound { .. }
            | Event::CharmAdded { .. }
            | Event::CharmRemoved { .. }
            | Event::ServiceAdded { .. }
            | Event::ServiceDying { .. }
            | Event::ConstraintsSet { .. }
            | Event::UnitStatusSet { .. } => {}
            // So that its agent sees to the next try.
            Event::HookFailed { unit, .. } | Event::HookRetried { unit } => {
                self.units.insert(unit.clone());
            }
            Event::MachineAdded { machine, .. }
            | Event::MachineFailed { machine, .. }
            | Event::MachineRetried { machine } => {
                self.machines.insert(*machine);
            }
            Event::MachineDying { machine } | Event::MachineRemoved { machine } => {
                self.machines.insert(*machine);
                // It may have waited for this container to go.
                self.machines.extend(machine.host());
                self.departure = true;
            }
            Event::MachineProvisioned { machine, .. } => {
                self.machines.insert(*machine);
                self.exposure = true;
                if let Some(machine) = model.machines.get(machine) {
                    self.units.extend(machine.units.iter().cloned());
                }
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
                self.units.insert(unit.clone());
                self.exposure |= !writes.opened.is_empty() || !writes.closed.is_empty();
                for relation in writes.settings.keys() {
                    self.remotes(model, *relation, unit);
                }
                if !writes.leader.is_empty() {
                    self.units_of(model, &unit.service);
                }
                self.after(model, unit, hook);
            }
            Event::HookSkipped { unit, hook, .. } => {
                self.units.insert(unit.clone());
                self.after(model, unit, hook);
            }
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
