//! What workers report: machines that came up, hooks that ran.

use super::super::entities::{Life, Machine, Provision};
use super::super::event::Event;
use super::super::hook::{Hook, RelationHook};
use super::super::names::{MachineId, RelationId, UnitName};
use super::{Change, ChangeError, Decider, MachineError};

impl Decider<'_> {
    pub(super) fn report(&mut self, change: Change) -> Result<(), ChangeError> {
        match change {
            Change::MachineProvisioned { machine, instance, address, hardware, prepared } => {
                self.known_machine(machine)?;
                self.emit(Event::MachineProvisioned { machine, instance, address, hardware, prepared });
            }
            Change::MachineFailed { machine, message } => {
                self.known_machine(machine)?;
                self.emit(Event::MachineFailed { machine, message });
            }
            Change::MachineGone { machine } => {
                self.known_machine(machine)?;
                self.emit(Event::MachineRemoved { machine });
            }
            Change::AdmitScope { unit, relation } => self.admit_scope(unit, relation)?,
            Change::LeaveScope { unit, relation } => {
                self.known_unit(&unit)?;
                self.emit(Event::ScopeLeft { unit, relation });
                self.remove_relation_if_done(relation);
            }
            Change::CommitHook { unit, hook, writes } => {
                self.known_unit(&unit)?;
                if !writes.leader.is_empty() && !self.leads(&unit) {
                    // All of it or nothing: the next leader may have written already.
                    let message = "the unit ceased to lead while the hook ran, so its writes were dropped".to_owned();
                    return self.fail_hook(unit, hook, message);
                }
                let event = Event::HookCommitted { unit, hook: hook.clone(), writes };
                self.after_hook(event, &hook);
            }
            Change::FailHook { unit, hook, message } => self.fail_hook(unit, hook, message)?,
            Change::SetStatus { unit, status } => {
                self.known_unit(&unit)?;
                if self.model.units.get(&unit).is_some_and(|known| known.workload != status) {
                    self.emit(Event::UnitStatusSet { unit, status });
                }
            }
            Change::UnitDone { unit } => {
                self.known_unit(&unit)?;
                // Whoever reports: a principal outlives its subordinates.
                if self.model.units.get(&unit).is_some_and(|unit| unit.subordinates.is_empty()) {
                    self.remove_unit(&unit);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// With a principal its subordinate comes, within the same change: a planner beside it would make two, or none.
    fn admit_scope(&mut self, unit: UnitName, relation: RelationId) -> Result<(), ChangeError> {
        if !self.model.may_enter(&unit, relation) {
            return Err(ChangeError::Outdated(format!("relation {relation}")));
        }
        let principal = self.model.units.get(&unit).is_some_and(|unit| unit.principal.is_none());
        let container = self.model.relations.get(&relation).filter(|relation| relation.is_container_scoped());
        let remote = container.map(|relation| relation.remote_service(&unit.service).clone());
        self.emit(Event::ScopeAdmitted { unit: unit.clone(), relation });
        if let Some(remote) = remote.filter(|_| principal) {
            self.add_subordinate(&unit, &remote);
        }
        Ok(())
    }

    /// A dying unit's hook counts as run: nobody shall have to mend what is going away.
    fn fail_hook(&mut self, unit: UnitName, hook: Hook, message: String) -> Result<(), ChangeError> {
        self.known_unit(&unit)?;
        if let Hook::Relation { relation, .. } = &hook
            && self.model.units.get(&unit).is_some_and(|unit| unit.scope(*relation).is_none())
        {
            // Taken out of the relation by force while the hook ran: nobody can mend what is not there any more.
            return Err(ChangeError::Outdated(format!("relation {relation}")));
        }
        let dying = self.model.units.get(&unit).is_some_and(|unit| unit.life == Life::Dying);
        if dying {
            let event = Event::HookSkipped { unit, hook: hook.clone(), message };
            self.after_hook(event, &hook);
        } else {
            self.emit(Event::HookFailed { unit, hook, message });
        }
        Ok(())
    }

    pub(super) fn resolve(&mut self, name: UnitName, retry: bool) -> Result<(), ChangeError> {
        let Some(unit) = self.model.units.get(&name) else { return Err(ChangeError::NoUnit(name)) };
        let failed = match unit.failed.clone() {
            // What is going away skips its failed hooks by itself.
            Some(failed) if unit.life == Life::Alive => failed,
            None if unit.retried.is_some() => return Err(ChangeError::AlreadyResolved(name)),
            _ => return Err(ChangeError::UnitNotInError(name)),
        };
        if retry {
            self.emit(Event::HookRetried { unit: name });
        } else {
            let hook = failed.hook;
            self.after_hook(Event::HookSkipped { unit: name, hook: hook.clone(), message: failed.message }, &hook);
        }
        Ok(())
    }

    pub(super) fn retry_provisioning(&mut self, machines: &[MachineId]) -> Result<(), ChangeError> {
        for id in machines {
            match self.model.machines.get(id).map(|machine| &machine.provision) {
                None => return Err(ChangeError::NoMachine(*id)),
                Some(Provision::Failed { .. }) => self.has_origin(*id)?,
                Some(_) => return Err(ChangeError::MachineNotInError(*id)),
            }
        }
        for id in machines {
            self.emit(Event::MachineRetried { machine: *id });
        }
        Ok(())
    }

    fn has_origin(&self, id: MachineId) -> Result<(), ChangeError> {
        match self.model.machines.get(&id).filter(|machine| !self.model.can_be_made(machine)) {
            Some(Machine { copy_of: Some(from), .. }) => {
                Err(MachineError::OriginGone { machine: id, from: *from }.into())
            }
            _ => Ok(()),
        }
    }

    fn after_hook(&mut self, event: Event, hook: &Hook) {
        self.emit(event);
        if let Hook::Relation { relation, kind: RelationHook::Broken, .. } = hook {
            self.remove_relation_if_done(*relation);
        }
    }

    pub(super) fn leads(&self, unit: &UnitName) -> bool {
        let service = self.model.services.get(&unit.service);
        service.and_then(|service| self.model.leader(service)).as_ref() == Some(unit)
    }

    fn known_machine(&self, id: MachineId) -> Result<(), ChangeError> {
        match self.model.machines.get(&id) {
            Some(machine) if !matches!(machine.provision, Provision::Host { .. }) => Ok(()),
            _ => Err(ChangeError::Outdated(format!("machine {id}"))),
        }
    }

    fn known_unit(&self, unit: &UnitName) -> Result<(), ChangeError> {
        if self.model.units.contains_key(unit) {
            Ok(())
        } else {
            Err(ChangeError::Outdated(format!("unit \"{unit}\"")))
        }
    }
}
