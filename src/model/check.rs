//! Lists every inconsistency of a model. Used after each step of a test, before a commit in debug builds, and by
//! `encanto doctor`.

use std::collections::BTreeSet;

use super::action::{ActionState, KEPT};
use super::constraints::Constraints;
use super::entities::{Life, Machine, Power, Presence, Provision, Relation, Unit};
use super::names::{MachineId, UnitName};
use super::state::Model;

/// One line for each thing that must not be; empty is well.
pub fn inconsistencies(model: &Model) -> Vec<String> {
    let mut found = Vec::new();
    machines(model, &mut found);
    services(model, &mut found);
    units(model, &mut found);
    for relation in model.relations.values() {
        members(model, relation, &mut found);
    }
    actions(model, &mut found);
    found
}

fn machines(model: &Model, found: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for (id, machine) in &model.machines {
        if !was_given_out(model, *id) {
            found.push(format!("machine {id} has a number that was never given out"));
        }
        let host = id.host().and_then(|host| model.machines.get(&host));
        if host.is_some_and(|host| host.life == Life::Dying) && machine.life == Life::Alive {
            found.push(format!("machine {id} is on a machine that is going and is not going itself"));
        }
        if machine.constraints != machine.constraints.over(&Constraints::default()) {
            found.push(format!("machine {id} was made with constraints that say nothing"));
        }
        copies(model, machine, found);
        if machine.name.as_ref().is_some_and(|name| !names.insert(name)) {
            found.push(format!("machine {id} has a name that another has"));
        }
        let wished = machine.power != Power::On || machine.restore.is_some();
        if wished && !matches!(machine.provision, Provision::Running { .. }) {
            found.push(format!("machine {id} is not there, and is to be {:?}, {:?}", machine.power, machine.restore));
        }
        if machine.constraints.virt_type.is_none() && *id != MachineId::HOST && model.kinds.default_kind().is_some() {
            found.push(format!("machine {id} is of no kind"));
        }
        for unit in &machine.units {
            if model.units.get(unit).is_none_or(|unit| unit.machine != *id) {
                found.push(format!("machine {id} lists unit {unit}, which is not on it"));
            }
        }
        if model.unused.contains(id) == (machine.used || *id == MachineId::HOST) {
            found.push(format!("machine {id} is wrongly listed as used or unused"));
        }
    }
    adopted(model, found);
    for id in model.unused.iter().filter(|id| !model.machines.contains_key(id)) {
        found.push(format!("machine {id} is listed as unused and does not exist"));
    }
}

/// What is to be copied stays until it is.
fn copies(model: &Model, machine: &Machine, found: &mut Vec<String>) {
    let due = |copy: &Machine| copy.life == Life::Alive && copy.provision == Provision::Pending;
    let id = machine.id;
    for copy in &machine.copies_due {
        if !model.machines.get(copy).is_some_and(|copy| due(copy) && copy.copy_of == Some(id)) {
            found.push(format!("machine {id} waits for {copy} to become a copy of it, which it will not"));
        }
    }
    if let Some(from) = machine.copy_of.filter(|_| due(machine))
        && !model.machines.get(&from).is_some_and(|from| from.copies_due.contains(&id))
    {
        found.push(format!("machine {id} is to become a copy of {from}, which does not wait for that"));
    }
}

/// What is on the host is at most one machine, and none that the environment would give away or nest.
fn adopted(model: &Model, found: &mut Vec<String>) {
    let all: Vec<_> = model.machines.values().filter_map(|m| Some((m, m.adopted.as_ref()?))).collect();
    for (at, (machine, adopted)) in all.iter().enumerate() {
        let id = machine.id;
        if let Some((other, _)) = all[..at].iter().find(|(_, other)| other.is(adopted)) {
            found.push(format!("machines {} and {id} are both {adopted}", other.id));
        }
        if id.host().is_some() || !machine.used {
            found.push(format!("machine {id} was adopted as one that the environment made"));
        }
    }
}

/// A container is there only as long as its machine.
fn was_given_out(model: &Model, id: MachineId) -> bool {
    match (id.host(), id.container_number()) {
        (Some(host), Some(number)) => model.machines.get(&host).is_some_and(|host| number < host.next_container),
        _ => id.number() < model.next_machine,
    }
}

fn services(model: &Model, found: &mut Vec<String>) {
    for (name, service) in &model.services {
        if !model.charms.contains_key(&service.charm) {
            found.push(format!("service {name} has charm {}, which is not known", service.charm));
        }
        for number in &service.units {
            let unit = UnitName { service: name.clone(), number: *number };
            if !model.units.contains_key(&unit) {
                found.push(format!("service {name} lists unit {unit}, which does not exist"));
            }
        }
        let held = |id| model.relations.get(id).is_some_and(Relation::is_held);
        if service.life == Life::Dying && service.units.is_empty() && !service.relations.iter().any(held) {
            found.push(format!("service {name} is dying and waits for nobody"));
        }
        for id in &service.relations {
            let related = model.relations.get(id).is_some_and(|relation| relation.endpoint_of(name).is_some());
            if !related {
                found.push(format!("service {name} lists relation {id}, which is not its own"));
            }
        }
    }
}

fn units(model: &Model, found: &mut Vec<String>) {
    for (name, unit) in &model.units {
        if !model.services.get(&name.service).is_some_and(|service| service.units.contains(&name.number)) {
            found.push(format!("unit {name} is not listed by its service"));
        }
        let written = model.services.get(&name.service).map_or(0, |service| service.leader_version);
        if unit.leader_seen.is_some_and(|seen| seen > written) {
            found.push(format!("unit {name} has seen settings that its leader has not written"));
        }
        if !model.machines.get(&unit.machine).is_some_and(|machine| machine.units.contains(name)) {
            found.push(format!("unit {name} is not listed by its machine {}", unit.machine));
        }
        if unit.life == Life::Dying && model.machines.get(&unit.machine).is_some_and(Machine::is_off) {
            found.push(format!("unit {name} is dying on machine {}, which is stopped", unit.machine));
        }
        subordination(model, unit, found);
        for (id, scope) in &unit.scopes {
            let Some(relation) = model.relations.get(id) else {
                found.push(format!("unit {name} is in relation {id}, which does not exist"));
                continue;
            };
            if relation.members.get(name).is_none_or(|member| member.presence == Presence::Left) {
                found.push(format!("unit {name} is in relation {id}, which does not count it as a member"));
            }
            for remote in scope.seen.keys().filter(|remote| !relation.members.contains_key(*remote)) {
                found.push(format!("unit {name} has seen {remote} in relation {id}, whose settings are gone"));
            }
        }
    }
}

fn actions(model: &Model, found: &mut Vec<String>) {
    for (id, action) in &model.actions {
        if id.0 >= model.next_action {
            found.push(format!("action {id} has a number that was never given out"));
        }
        let unit = model.units.get(&action.unit);
        if unit.is_some_and(|unit| unit.actions.contains(id)) == action.state.is_over() {
            found.push(format!(
                "action {id} is {}, and its unit {} does not agree",
                action.state.as_str(),
                action.unit
            ));
        }
        if action.state == ActionState::Queued && unit.is_none_or(|unit| unit.life == Life::Dying) {
            found.push(format!("action {id} waits for unit {}, which will not run it", action.unit));
        }
    }
    if model.actions.values().filter(|action| action.state.is_over()).count() > KEPT {
        found.push(format!("more than {KEPT} actions that are over are kept"));
    }
    for (name, unit) in &model.units {
        let own = unit.actions.iter().filter_map(|id| model.actions.get(id));
        if own.clone().count() != unit.actions.len() {
            found.push(format!("unit {name} lists an action that does not exist"));
        }
        if own.filter(|action| matches!(action.state, ActionState::Running { .. })).count() > 1 {
            found.push(format!("unit {name} runs several actions at a time"));
        }
    }
}

/// A subordinate has a principal on its own machine, and a principal one subordinate for each subordinate service that
/// it shares its container with.
fn subordination(model: &Model, unit: &Unit, found: &mut Vec<String>) {
    let name = &unit.name;
    if model.is_subordinate(&name.service) != unit.principal.is_some() {
        found.push(format!("unit {name} has principal {:?}, its charm says otherwise", unit.principal));
    }
    if let Some(principal) = &unit.principal {
        let listed = model.units.get(principal).is_some_and(|principal| {
            principal.subordinates.contains(name) && principal.machine == unit.machine && principal.principal.is_none()
        });
        if !listed {
            found.push(format!("unit {name} is not listed by its principal {principal}"));
        }
        let service = model.services.get(&name.service);
        let brought = service.is_some_and(|service| model.brings(&principal.service, service));
        if unit.life == Life::Alive && !brought {
            found.push(format!("unit {name} is alive with no relation to its principal {principal}"));
        }
    }
    let mut services = BTreeSet::new();
    for subordinate in &unit.subordinates {
        if model.units.get(subordinate).is_none_or(|unit| unit.principal.as_ref() != Some(name)) {
            found.push(format!("unit {name} lists subordinate {subordinate}, which is not its own"));
        }
        if !services.insert(&subordinate.service) {
            found.push(format!("unit {name} has two subordinates of service {}", subordinate.service));
        }
    }
    let shared = unit.scopes.keys().filter_map(|id| model.relations.get(id));
    for relation in shared.filter(|relation| relation.life == Life::Alive && relation.is_container_scoped()) {
        let other = relation.remote_service(&name.service);
        let awaited = unit.life == Life::Alive && unit.principal.is_none() && model.is_subordinate(other);
        if awaited && !services.contains(other) {
            found.push(format!("unit {name} is in relation {} and has no subordinate of {other}", relation.id));
        }
    }
}

fn members(model: &Model, relation: &Relation, found: &mut Vec<String>) {
    let id = relation.id;
    for endpoint in &relation.endpoints {
        let listed = model.services.get(&endpoint.service).is_some_and(|service| service.relations.contains(&id));
        if !listed {
            found.push(format!("relation {id} is not listed by service {}", endpoint.service));
        }
    }
    for (name, member) in &relation.members {
        let opposite = member.opposite.as_ref().and_then(|other| model.units.get(other));
        let strangers = opposite.zip(model.units.get(name)).is_some_and(|(other, unit)| {
            other.principal.as_ref().unwrap_or(&other.name) != unit.principal.as_ref().unwrap_or(name)
        });
        if strangers {
            found.push(format!("relation {id} puts {name} and {:?} into one container", member.opposite));
        }
        let inside = model.units.get(name).is_some_and(|unit| unit.scopes.contains_key(&id));
        if inside == (member.presence == Presence::Left) {
            found.push(format!("relation {id} counts {name} as {:?}, its unit does not", member.presence));
        }
    }
}
