//! What `status` says about whatever is being removed: what it waits for.

use crate::model::{Life, Model};

use super::super::backend::Dying;
use super::super::status::EnvironmentStatus;
use super::status::unit_of;

/// Fills in what each dying thing of `status` waits for, as `waits_for` says.
pub fn tell(status: &mut EnvironmentStatus, model: &Model, waits_for: &dyn Fn(Dying<'_>) -> Option<String>) {
    for machine in model.machines.values().filter(|machine| machine.life == Life::Dying) {
        let name = machine.id.to_string();
        let told = match machine.id.host() {
            None => status.machines.get_mut(&name),
            Some(host) => status.machines.get_mut(&host.to_string()).and_then(|host| host.containers.get_mut(&name)),
        };
        if let Some(told) = told {
            told.agent_state_info = waits_for(Dying::Machine(machine.id)).or(told.agent_state_info.take());
        }
    }
    for service in model.services.values().filter(|service| service.life == Life::Dying) {
        if let Some(told) = status.services.get_mut(service.name.as_str()) {
            told.life_info = waits_for(Dying::Service(&service.name));
        }
    }
    for unit in model.units.values().filter(|unit| unit.life == Life::Dying) {
        if let Some(told) = unit_of(status, unit) {
            told.agent_state_info = waits_for(Dying::Unit(&unit.name)).or(told.agent_state_info.take());
        }
    }
    for relation in model.relations.values().filter(|relation| relation.life == Life::Dying) {
        if relation.endpoints.iter().any(|end| status.services.contains_key(end.service.as_str())) {
            let told = waits_for(Dying::Relation(relation.id)).unwrap_or_default();
            status.dying_relations.insert(relation.key(), told);
        }
    }
}
