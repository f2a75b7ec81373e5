//! destroy-unit, destroy-service, destroy-machine, and what follows when the last reference goes.

use std::collections::BTreeSet;

use super::super::entities::{Life, Machine, Presence, Provision, Unit};
use super::super::event::Event;
use super::super::names::{MachineId, RelationId, ServiceName, UnitName};
use super::{ChangeError, Decider};

/// Why one machine is not destroyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineRefusal {
    #[error("machine {0} does not exist")]
    Missing(MachineId),
    #[error("machine {0} is required by the environment")]
    Required(MachineId),
    #[error("machine {machine} has unit \"{unit}\" assigned")]
    HasUnit { machine: MachineId, unit: UnitName },
    #[error("machine {machine} is hosting containers \"{}\"", listed(.containers))]
    HostsContainers { machine: MachineId, containers: Vec<MachineId> },
    #[error("machine {machine} was adopted: it is {what}, and not the environment's to destroy")]
    Adopted { machine: MachineId, what: String },
    #[error("machine {0} was not adopted: the environment made it")]
    OwnMake(MachineId),
}

fn listed(machines: &[MachineId]) -> String {
    machines.iter().map(MachineId::to_string).collect::<Vec<_>>().join(",")
}

/// Why one unit is not destroyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitRefusal {
    #[error("unit \"{0}\" does not exist")]
    Missing(UnitName),
    #[error("unit \"{unit}\" is a subordinate")]
    Subordinate { unit: UnitName, principal: UnitName },
}

impl Decider<'_> {
    pub(super) fn destroy_units(&mut self, units: &[UnitName], force: bool) -> Result<(), ChangeError> {
        let refused: Vec<UnitRefusal> = units.iter().filter_map(|unit| self.why_it_stays(unit)).collect();
        if !refused.is_empty() {
            return Err(ChangeError::NoUnitsDestroyed(refused));
        }
        for unit in units {
            self.destroy_unit(unit, force);
        }
        Ok(())
    }

    fn why_it_stays(&self, name: &UnitName) -> Option<UnitRefusal> {
        match self.model.units.get(name) {
            None => Some(UnitRefusal::Missing(name.clone())),
            Some(unit) => {
                unit.principal.clone().map(|principal| UnitRefusal::Subordinate { unit: name.clone(), principal })
            }
        }
    }

    pub(super) fn destroy_services(&mut self, services: &[ServiceName], force: bool) -> Result<(), ChangeError> {
        for name in services {
            self.service(name)?;
        }
        for name in services {
            let Some(service) = self.model.services.get(name) else { continue };
            let alive = service.life == Life::Alive;
            // Units of other services are told by their hooks, unless they cannot run any, or it was asked for twice.
            let off: BTreeSet<MachineId> =
                self.model.machines.values().filter(|machine| machine.is_off()).map(|machine| machine.id).collect();
            let unable = |unit: &Unit| unit.failed.is_some() || off.contains(&unit.machine) || !alive;
            let relations: Vec<RelationId> = service.relations.iter().copied().collect();
            let units: Vec<UnitName> =
                service.units.iter().map(|number| UnitName { service: name.clone(), number: *number }).collect();
            if alive {
                self.emit(Event::ServiceDying { service: name.clone() });
            }
            for relation in relations {
                if force {
                    self.sever(relation, unable);
                }
                self.end_relation(relation, false);
            }
            for unit in units {
                self.destroy_unit(&unit, force);
            }
            self.remove_service_if_done(name);
        }
        Ok(())
    }

    pub(super) fn destroy_machines(&mut self, machines: &[MachineId], force: bool) -> Result<(), ChangeError> {
        let mut refused = Vec::new();
        for id in machines {
            match self.model.machines.get(id) {
                None => refused.push(MachineRefusal::Missing(*id)),
                Some(_) if *id == MachineId::HOST => refused.push(MachineRefusal::Required(*id)),
                Some(_) if force => {}
                Some(machine) => refused.extend(self.not_ours(*id).or_else(|| self.what_holds(machine, machines))),
            }
        }
        if !refused.is_empty() {
            return Err(ChangeError::NoMachinesDestroyed(refused));
        }
        for id in machines {
            self.destroy_machine(*id);
        }
        Ok(())
    }

    /// Why a machine cannot go without force: its containers, unless they go with it or before it, or its units.
    pub(super) fn what_holds(&self, machine: &Machine, going: &[MachineId]) -> Option<MachineRefusal> {
        let stays = |container: &&Machine| container.life == Life::Alive && !going.contains(&container.id);
        let containers: Vec<MachineId> = self.model.containers_of(machine.id).filter(stays).map(|c| c.id).collect();
        if !containers.is_empty() {
            return Some(MachineRefusal::HostsContainers { machine: machine.id, containers });
        }
        let unit = self.model.principals_on(machine).next()?.name.clone();
        Some(MachineRefusal::HasUnit { machine: machine.id, unit })
    }

    /// With all that is on it: its containers go first.
    pub(super) fn destroy_machine(&mut self, id: MachineId) {
        let containers: Vec<MachineId> = self.model.containers_of(id).map(|container| container.id).collect();
        for container in containers {
            self.destroy_machine(container);
        }
        let Some(machine) = self.model.machines.get(&id) else { return };
        let units: Vec<UnitName> = machine.units.iter().cloned().collect();
        for unit in units {
            self.remove_unit(&unit);
        }
        if self.model.machines.get(&id).is_some_and(|machine| machine.life == Life::Alive) {
            self.emit(Event::MachineDying { machine: id });
        }
    }

    /// A unit that has not run a hook yet goes at once, as in Juju; so does any with force.
    fn destroy_unit(&mut self, name: &UnitName, force: bool) {
        let Some(unit) = self.model.units.get(name) else { return };
        let untouched = !unit.installed && unit.scopes.is_empty() && self.runs_nothing(unit.machine);
        let machine = unit.machine;
        if force || untouched {
            self.remove_unit(name);
        } else if unit.life == Life::Alive {
            let subordinates = unit.subordinates.clone();
            self.start_for_farewell(machine);
            self.emit(Event::UnitDying { unit: name.clone() });
            for subordinate in subordinates {
                self.destroy_unit(&subordinate, false);
            }
        }
    }

    /// It is not there yet, or an operator has stopped it.
    fn runs_nothing(&self, machine: MachineId) -> bool {
        let machine = self.model.machines.get(&machine);
        machine.is_none_or(|machine| {
            machine.is_off() || matches!(machine.provision, Provision::Pending | Provision::Failed { .. })
        })
    }

    /// Takes the unit out of the model, after its subordinates, and follows up whatever waited for it.
    pub(super) fn remove_unit(&mut self, name: &UnitName) {
        let Some(unit) = self.model.units.get(name) else { return };
        for subordinate in unit.subordinates.clone() {
            self.remove_unit(&subordinate);
        }
        let Some(unit) = self.model.units.get(name) else { return };
        let relations: Vec<RelationId> = unit.scopes.keys().copied().collect();
        let principal = unit.principal.clone();
        self.emit(Event::UnitRemoved { unit: name.clone(), principal });
        for relation in relations {
            self.remove_relation_if_done(relation);
        }
        self.remove_service_if_done(&name.service);
    }

    /// Takes members out of a relation without their hooks; a hook of it that failed is not waited for any more.
    pub(super) fn sever(&mut self, id: RelationId, whom: impl Fn(&Unit) -> bool) {
        let Some(relation) = self.model.relations.get(&id) else { return };
        let inside = relation.members.iter().filter(|(_, member)| member.presence != Presence::Left);
        let severed: Vec<(UnitName, bool)> = inside
            .filter_map(|(name, _)| self.model.units.get(name))
            .filter(|unit| whom(unit))
            .map(|unit| (unit.name.clone(), unit.failed.as_ref().is_some_and(|failed| failed.hook.is_of(id))))
            .collect();
        for (unit, failed_in_it) in severed {
            if failed_in_it {
                self.emit(Event::HookRetried { unit: unit.clone() });
            }
            self.emit(Event::ScopeLeft { unit, relation: id });
        }
    }

    pub(super) fn end_relation(&mut self, id: RelationId, force: bool) {
        let alive = self.model.relations.get(&id).is_some_and(|relation| relation.life == Life::Alive);
        if alive {
            self.emit(Event::RelationDying { relation: id });
        }
        if alive || force {
            self.end_subordinates(id, force);
        }
        self.remove_relation_if_done(id);
    }

    /// A subordinate goes with the last container-scoped relation that brought it to its principal.
    fn end_subordinates(&mut self, id: RelationId, force: bool) {
        let Some(relation) = self.model.relations.get(&id).filter(|relation| relation.is_container_scoped()) else {
            return;
        };
        let mut leaving: Vec<UnitName> = Vec::new();
        for service in relation.endpoints.iter().filter_map(|end| self.model.services.get(&end.service)) {
            let other = relation.remote_service(&service.name);
            if !self.model.brings(other, service) {
                let made_for = |unit: &&Unit| unit.principal.as_ref().is_some_and(|unit| unit.service == *other);
                leaving.extend(self.model.units_of(service).filter(made_for).map(|unit| unit.name.clone()));
            }
        }
        for unit in leaving {
            self.destroy_unit(&unit, force);
        }
    }

    /// A dying relation goes with its last member, and may take a dying service with it.
    pub(super) fn remove_relation_if_done(&mut self, id: RelationId) {
        let Some(relation) = self.model.relations.get(&id) else { return };
        if relation.life == Life::Alive || relation.is_held() {
            return;
        }
        let services: Vec<ServiceName> = relation.endpoints.iter().map(|e| e.service.clone()).collect();
        self.emit(Event::RelationRemoved { relation: id });
        for service in services {
            self.remove_service_if_done(&service);
        }
    }

    fn remove_service_if_done(&mut self, name: &ServiceName) {
        let Some(service) = self.model.services.get(name) else { return };
        if service.life == Life::Alive || !service.units.is_empty() {
            return;
        }
        // Its own peer relations have no members left; others end with their last member.
        let relations: Vec<RelationId> = service.relations.iter().copied().collect();
        let mut others = Vec::new();
        for id in relations {
            let Some(relation) = self.model.relations.get(&id) else { continue };
            if !relation.is_held() {
                others.extend(relation.endpoints.iter().map(|endpoint| endpoint.service.clone()).filter(|s| s != name));
                self.emit(Event::RelationRemoved { relation: id });
            }
        }
        let Some(service) = self.model.services.get(name) else { return };
        if service.relations.is_empty() {
            let charm = service.charm.clone();
            self.emit(Event::ServiceRemoved { service: name.clone() });
            self.forget_charm(charm);
        }
        // A dying service may have waited for nothing but these relations.
        for other in others {
            self.remove_service_if_done(&other);
        }
    }
}
