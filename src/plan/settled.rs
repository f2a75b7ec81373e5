//! Whether the environment, or a part of it, is as asked, and if not what stands in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{
    Life, Machine, MachineId, Model, Observed, Power, Provision, Relation, Restore, Service, ServiceName, Sighting,
    Unit, UnitName, WorkloadState,
};

use super::{actions, hooks, patience, provision, removal};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Every unit is active (or says nothing) and nothing is pending.
    Active,
    /// Every unit's start hook ran and every machine is up.
    Started,
    /// Nothing is pending, nor with the units that one which waits is related to; it may be blocked or waiting for what only
    /// an operator can give.
    Settled,
    /// It does not exist any more.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Machine(MachineId),
    Unit(UnitName),
    Service(ServiceName),
}

/// How far one machine or unit is, in words and as a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub entity: String,
    /// The machine of a unit.
    pub parent: Option<String>,
    pub state: String,
    pub message: String,
    /// What a unit does now, where its message says something else.
    pub doing: Option<String>,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As asked.
    Reached,
    /// Something is still being done about it.
    Busy,
    /// At rest, and not as asked.
    Resting,
    /// In error: an operator is needed.
    Failed,
}

/// How far everything in `targets` is; no targets is everything. A unit is as far as its subordinates are. Sorted:
/// machines, then units.
pub fn progress(model: &Model, observed: &Observed, targets: &[Target], condition: Condition) -> Vec<Progress> {
    let everything = targets.is_empty();
    let (machines, units): (Vec<&Machine>, Vec<&Unit>) = match everything {
        true => (model.machines.values().collect(), model.units.values().collect()),
        false => named(model, targets),
    };
    // A machine that only hosts what is to go may stay.
    let may_stay = |machine: &Machine| {
        condition == Condition::Gone && !everything && !targets.contains(&Target::Machine(machine.id))
    };
    let of_machine = |machine: &Machine| if may_stay(machine) { Condition::Settled } else { condition };
    let progress = |machine: &Machine| machine_progress(model, observed, machine, of_machine(machine));
    let mut all: Vec<Progress> = machines.into_iter().map(progress).collect();
    let mut company = Company { model, observed, at_work: BTreeMap::new() };
    all.extend(units.into_iter().map(|unit| {
        let mut progress = unit_progress(model, observed, unit, condition);
        if condition == Condition::Settled && progress.verdict == Verdict::Resting {
            let served = company.is_at_work_for(&unit.name.service);
            progress.verdict = if served { Verdict::Busy } else { Verdict::Reached };
        }
        progress
    }));
    let services = model.services.values().filter(|service| targets.contains(&Target::Service(service.name.clone())));
    let to_come = services.filter(|_| condition != Condition::Gone);
    all.extend(to_come.filter_map(|service| units_to_come(model, observed, service)));
    for service in model.services.values().filter(|s| s.life == Life::Dying && s.units.is_empty()) {
        if everything || targets.contains(&Target::Service(service.name.clone())) {
            let (message, verdict) = dying(removal::of_service(model, observed, &service.name));
            let entity = format!("service {}", service.name);
            all.push(Progress { entity, parent: None, state: "dying".into(), message, doing: None, verdict });
        }
    }
    all.extend(dying_relations(model, observed, targets));
    all
}

/// What of `targets` is not there any more: it may have gone before anybody looked.
pub fn gone_already(model: &Model, targets: &[Target]) -> Vec<Progress> {
    let gone = |target: &Target| match target {
        Target::Machine(id) => (!model.machines.contains_key(id)).then(|| format!("machine {id}")),
        Target::Unit(name) => (!model.units.contains_key(name)).then(|| name.to_string()),
        Target::Service(name) => (!model.services.contains_key(name)).then(|| format!("service {name}")),
    };
    let progress = |entity: String| Progress {
        entity,
        parent: None,
        state: "gone".into(),
        message: String::new(),
        doing: None,
        verdict: Verdict::Reached,
    };
    targets.iter().filter_map(gone).map(progress).collect()
}

/// The units that are meant with their subordinates, and the machines that are or that host them. Nothing else is
/// looked at: who waits for one unit must not pay for ten thousand.
fn named<'a>(model: &'a Model, targets: &[Target]) -> (Vec<&'a Machine>, Vec<&'a Unit>) {
    let (mut machines, mut units) = (BTreeSet::new(), BTreeSet::new());
    for target in targets {
        match target {
            Target::Machine(id) => drop(machines.insert(*id)),
            Target::Unit(name) => drop(units.insert(name.clone())),
            Target::Service(service) => {
                let numbers = model.services.get(service).into_iter().flat_map(|service| &service.units);
                units.extend(numbers.map(|number| UnitName { service: service.clone(), number: *number }));
            }
        }
    }
    let principals = units.iter().filter_map(|name| model.units.get(name));
    let subordinates: Vec<UnitName> = principals.flat_map(|unit| unit.subordinates.iter().cloned()).collect();
    units.extend(subordinates);
    let units: Vec<&Unit> = units.iter().filter_map(|name| model.units.get(name)).collect();
    machines.extend(units.iter().map(|unit| unit.machine));
    (machines.iter().filter_map(|id| model.machines.get(id)).collect(), units)
}

fn dying_relations(model: &Model, observed: &Observed, targets: &[Target]) -> Vec<Progress> {
    let wanted = |relation: &Relation| {
        let of = |target: &Target| matches!(target, Target::Service(name) if relation.endpoint_of(name).is_some());
        relation.life == Life::Dying && (targets.is_empty() || targets.iter().any(of))
    };
    let progress = |relation: &Relation| {
        let (message, verdict) = dying(removal::of_relation(model, observed, relation.id));
        let entity = format!("relation {}", relation.key());
        Progress { entity, parent: None, state: "dying".into(), message, doing: None, verdict }
    };
    model.relations.values().filter(|relation| wanted(relation)).map(progress).collect()
}

/// What is dying is waited for, unless only an operator can help it on.
fn dying(obstacle: Option<removal::Obstacle>) -> (String, Verdict) {
    let stuck = obstacle.as_ref().is_some_and(removal::Obstacle::needs_operator);
    let message = obstacle.map(|obstacle| obstacle.to_string()).unwrap_or_default();
    (message, if stuck { Verdict::Failed } else { Verdict::Busy })
}

/// Whether nothing at all is being done or due in the environment.
pub fn at_rest(model: &Model, observed: &Observed) -> bool {
    observed.opening.is_none()
        && observed.host_fault().is_none()
        && observed.machine_activity.is_empty()
        && observed.unit_activity.is_empty()
        && model.machines.keys().all(|id| provision::next(model, *id, observed.instances.get(id).copied()).is_none())
        && model.units.keys().all(|name| hooks::next(model, name).is_none() && actions::next(model, name).is_none())
        && model
            .units
            .values()
            .all(|unit| is_off(model, unit) || hooks::promising_retry(unit, observed.retry_hooks).is_none())
}

/// An operator has stopped its machine: what it would do waits, and nobody waits for it.
fn is_off(model: &Model, unit: &Unit) -> bool {
    model.machines.get(&unit.machine).is_some_and(Machine::is_off)
}

fn machine_progress(model: &Model, observed: &Observed, machine: &Machine, condition: Condition) -> Progress {
    let activity = observed.machine_activity.get(&machine.id).cloned();
    let (state, message, verdict) = match (&machine.provision, machine.life) {
        (Provision::Host { .. }, _) => match (observed.host_fault(), &observed.opening) {
            (Some(words), _) if observed.being_mended() => ("error", words.clone(), Verdict::Busy),
            (Some(words), _) => ("error", words.clone(), Verdict::Failed),
            (None, Some(what)) => ("pending", what.clone(), Verdict::Busy),
            (None, None) => ("started", String::new(), Verdict::Reached),
        },
        (_, Life::Dying) => {
            let (message, verdict) = dying(removal::of_machine(model, observed, machine.id));
            ("dying", message, verdict)
        }
        (Provision::Failed { message }, _) => {
            let (again, verdict) = making_again(model, observed, machine);
            ("error", format!("{message}{again}"), verdict)
        }
        (Provision::Pending, _) => {
            ("pending", activity.or(observed.opening.clone()).unwrap_or_default(), Verdict::Busy)
        }
        // Nobody has looked at it yet: after a reboot of the host it does not run.
        (Provision::Running { .. }, _) if observed.opening.is_some() => {
            let verdict = if observed.opening_failed { Verdict::Failed } else { Verdict::Busy };
            ("unknown", observed.opening.clone().unwrap_or_default(), verdict)
        }
        (Provision::Running { .. }, _) => instance_progress(model, observed, machine),
    };
    let verdict = match condition {
        Condition::Gone if machine.life == Life::Dying => verdict,
        Condition::Gone => Verdict::Resting,
        _ => verdict,
    };
    let entity = format!("machine {}", machine.id);
    Progress { entity, parent: None, state: state.into(), message, doing: None, verdict }
}

/// Of a machine that was made: whether it is as an operator wants it.
fn instance_progress(model: &Model, observed: &Observed, machine: &Machine) -> (&'static str, String, Verdict) {
    let id = machine.id;
    let sighting = observed.instances.get(&id).copied();
    if sighting == Some(Sighting::Missing) {
        return ("down", model.lost(machine), Verdict::Failed);
    }
    let activity = observed.machine_activity.get(&machine.id).cloned();
    let due = provision::next(model, machine.id, sighting).is_some();
    let failed = machine.wish().unwrap_or_default();
    let state = match (&machine.restore, machine.power) {
        (Some(Restore::Due { .. }), _) => "restoring",
        (_, Power::On) if !due => return ("started", activity.unwrap_or(failed), Verdict::Reached),
        (_, Power::Off) if !due => return ("stopped", activity.unwrap_or(failed), Verdict::Reached),
        (_, Power::On) => "down",
        (_, Power::Off) => "stopping",
        (_, Power::Restarting) => "restarting",
        (_, Power::Starting) => "starting",
    };
    match (activity, observed.trouble(machine.id)) {
        (None, Some(trouble)) => {
            let verdict = if trouble.failures < patience::HOPELESS { Verdict::Busy } else { Verdict::Failed };
            (state, trouble.words.clone(), verdict)
        }
        (activity, _) => (state, activity.unwrap_or_default(), Verdict::Busy),
    }
}

fn unit_progress(model: &Model, observed: &Observed, unit: &Unit, condition: Condition) -> Progress {
    let running = observed.unit_activity.get(&unit.name);
    let due =
        running.is_some() || hooks::next(model, &unit.name).is_some() || actions::next(model, &unit.name).is_some();
    let ready =
        matches!(model.machines.get(&unit.machine).map(|machine| &machine.provision), Some(Provision::Running { .. }));
    let broken_machine = model.machines.get(&unit.machine).and_then(|machine| match &machine.provision {
        Provision::Failed { message } => Some((message.clone(), making_again(model, observed, machine).1)),
        _ => None,
    });
    let shown = || match (&unit.workload.message, running) {
        (message, _) if !message.is_empty() => message.clone(),
        (_, Some(doing)) => doing.to_string(),
        _ => String::new(),
    };
    let workload = unit.workload.state;
    let (state, message, verdict) = if unit.life == Life::Alive && is_off(model, unit) {
        ("stopped".to_owned(), format!("machine {} is stopped", unit.machine), Verdict::Reached)
    } else if let Some(failed) = unit.failed.as_ref().filter(|_| unit.life == Life::Alive) {
        let (again, verdict) = mending(observed, unit);
        ("error".to_owned(), format!("hook failed: \"{}\": {}{again}", failed.hook, failed.message), verdict)
    } else if unit.life == Life::Dying {
        let (message, verdict) = dying(removal::of_unit(model, observed, &unit.name));
        ("dying".to_owned(), message, verdict)
    } else if let Some((message, verdict)) = broken_machine {
        ("error".to_owned(), format!("machine {} failed: {message}", unit.machine), verdict)
    } else if !ready {
        ("pending".to_owned(), "waiting for machine".to_owned(), Verdict::Busy)
    } else if due {
        (if unit.started { workload.to_string() } else { "pending".to_owned() }, shown(), Verdict::Busy)
    } else if matches!(workload, WorkloadState::Active | WorkloadState::Unknown) {
        let state = if workload == WorkloadState::Unknown { "started" } else { "active" };
        (state.to_owned(), shown(), Verdict::Reached)
    } else {
        (workload.to_string(), shown(), Verdict::Resting)
    };
    let verdict = match (condition, verdict) {
        (Condition::Gone, _) if unit.life == Life::Dying => verdict,
        (Condition::Gone, _) => Verdict::Resting,
        (Condition::Started, Verdict::Busy | Verdict::Resting) if unit.started && state != "error" => Verdict::Reached,
        (_, verdict) => verdict,
    };
    let parent = Some(format!("machine {}", unit.machine));
    let doing = running.map(ToString::to_string).filter(|doing| verdict == Verdict::Busy && *doing != message);
    Progress { entity: unit.name.to_string(), parent, state, message, doing, verdict }
}

/// Which services are at work. Each is looked at once, however many units wait for it.
struct Company<'a> {
    model: &'a Model,
    observed: &'a Observed,
    at_work: BTreeMap<&'a ServiceName, bool>,
}

impl<'a> Company<'a> {
    /// Whether a unit that those of `service` may hear from is at work, their peers among them.
    fn is_at_work_for(&mut self, service: &'a ServiceName) -> bool {
        let relations = self.model.services.get(service).into_iter().flat_map(|service| &service.relations);
        let mut relations = relations.filter_map(|id| self.model.relations.get(id));
        relations.any(|relation| {
            let other = relation.remote_service(service);
            let (model, observed) = (self.model, self.observed);
            *self.at_work.entry(other).or_insert_with(|| {
                let of = |number: &u32| model.units.get(&UnitName { service: other.clone(), number: *number });
                let mut units = model.services.get(other).into_iter().flat_map(|other| &other.units).filter_map(of);
                units.any(|unit| unit_progress(model, observed, unit, Condition::Active).verdict == Verdict::Busy)
            })
        })
    }
}

/// Whether a failed hook is tried again by itself, in words, and whether that is worth waiting for.
fn mending(observed: &Observed, unit: &Unit) -> (String, Verdict) {
    let delay = observed.retry_hooks.and_then(|first| hooks::retry_delay(unit, first));
    let Some(delay) = delay else { return (String::new(), Verdict::Failed) };
    let delay = Duration::from_millis(delay.unsigned_abs());
    match hooks::promising_retry(unit, observed.retry_hooks) {
        Some(_) => (format!(" (is tried again after {delay:?})"), Verdict::Busy),
        None => (format!(" (failed {} times, is tried again after {delay:?})", unit.failures), Verdict::Failed),
    }
}

/// The same of a machine that could not be made.
fn making_again(model: &Model, observed: &Observed, machine: &Machine) -> (String, Verdict) {
    let Some(trouble) = observed.creation_trouble(machine.id).filter(|_| model.can_be_made(machine)) else {
        return (String::new(), Verdict::Failed);
    };
    let delay = Duration::from_millis((trouble.next - trouble.last).unsigned_abs());
    match trouble.failures {
        failures if failures < patience::HOPELESS => (format!(" (is tried again after {delay:?})"), Verdict::Busy),
        failures => (format!(" (failed {failures} times, is tried again after {delay:?})"), Verdict::Failed),
    }
}

/// A subordinate service is not as asked while a unit that it is related to has not yet brought its own.
fn units_to_come(model: &Model, observed: &Observed, service: &Service) -> Option<Progress> {
    let shared = service.relations.iter().filter_map(|id| model.relations.get(id)).filter(|relation| {
        relation.life == Life::Alive && relation.is_container_scoped() && model.is_subordinate(&service.name)
    });
    let principals = shared.filter_map(|relation| model.services.get(relation.remote_service(&service.name)));
    let units = principals.flat_map(|principal| model.units_of(principal)).filter(|unit| unit.principal.is_none());
    let without: Vec<&Unit> = units
        .filter(|unit| unit.life == Life::Alive && model.subordinate_of(&unit.name, &service.name).is_none())
        .filter(|unit| !is_off(model, unit))
        .collect();
    let failed = |unit: &&&Unit| unit_progress(model, observed, unit, Condition::Active).verdict == Verdict::Failed;
    let (blocking, verdict) = match without.iter().find(failed) {
        Some(failed) => (failed, Verdict::Failed),
        None => (without.first()?, Verdict::Busy),
    };
    Some(Progress {
        entity: format!("service {}", service.name),
        parent: None,
        state: "pending".into(),
        message: format!("waits for {}", blocking.name),
        doing: None,
        verdict,
    })
}
