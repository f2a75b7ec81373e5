//! What stands in the way of something that is being removed.
//!
//! Removal ends by itself: what dies skips hooks that fail, and waits for no other unit. Only a relation waits for the
//! units of both sides to be told, and a service for its relations; there a unit in error has to be mended, or left out
//! by force.

use std::fmt;

use crate::model::{Hook, Life, MachineId, Model, Observed, Presence, RelationId, ServiceName, Sighting, UnitName};

use super::hooks::{self, UnitStep};

/// Reads as what comes after "mysql/0 is dying: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A hook, of another unit if one is named; whether it runs now.
    Hook { unit: Option<UnitName>, hook: String, runs: bool },
    /// One hook at a time on a machine: this unit's comes first.
    Turn { first: UnitName, hook: String },
    /// A unit that runs no hook before its error is resolved, and the command that does not wait for it.
    Error { unit: UnitName, hook: Hook, force: String },
    /// The same, but its container is gone.
    Lost { unit: UnitName, machine: MachineId },
    /// A unit that is about to be done.
    Unit(UnitName),
    /// Nothing can be done on any machine: why, and whether that failed.
    Host { words: String, failed: bool },
    /// What is being done to the machine, or the provider's words for why it could not be.
    Machine(String),
}

impl Obstacle {
    /// Whether it stays until an operator does something.
    pub fn needs_operator(&self) -> bool {
        matches!(self, Obstacle::Error { .. } | Obstacle::Lost { .. } | Obstacle::Host { failed: true, .. })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Hook { unit, hook, runs } => {
                let runs = if *runs { ", which runs" } else { "" };
                match unit {
                    Some(unit) => write!(f, "waits for hook {hook} of {unit}{runs}"),
                    None => write!(f, "waits for its hook {hook}{runs}"),
                }
            }
            Obstacle::Turn { first, hook } => write!(f, "waits for hook {hook} of {first} on the same machine"),
            Obstacle::Error { unit, hook, force } => {
                write!(f, "waits for {unit}, in error at hook {hook}: `encanto resolved {unit}`, or `{force}`")
            }
            Obstacle::Lost { unit, machine } => {
                write!(f, "waits for {unit}, whose container is gone: `encanto destroy-machine {machine} --force`")
            }
            Obstacle::Unit(unit) => write!(f, "waits for {unit}"),
            Obstacle::Host { words, .. } => write!(f, "waits for the host: {words}"),
            Obstacle::Machine(words) => f.write_str(words),
        }
    }
}

/// `None` for a unit that is not dying, or goes in a moment.
pub fn of_unit(model: &Model, observed: &Observed, name: &UnitName) -> Option<Obstacle> {
    model.units.get(name).filter(|unit| unit.life == Life::Dying)?;
    match next_of(model, observed, name, "") {
        Some(Obstacle::Hook { hook, runs, .. }) => Some(Obstacle::Hook { unit: None, hook, runs }),
        other => other,
    }
}

/// `None` for a relation that is not dying.
pub fn of_relation(model: &Model, observed: &Observed, id: RelationId) -> Option<Obstacle> {
    let relation = model.relations.get(&id).filter(|relation| relation.life == Life::Dying)?;
    let force = format!("encanto destroy-relation {} --force", relation.key());
    let inside = relation.members.iter().filter(|(_, member)| member.presence != Presence::Left);
    worst(inside.map(|(unit, _)| awaited(model, observed, unit, &force)))
}

/// `None` for a service that is not dying.
pub fn of_service(model: &Model, observed: &Observed, name: &ServiceName) -> Option<Obstacle> {
    let service = model.services.get(name).filter(|service| service.life == Life::Dying)?;
    let force = format!("encanto destroy-service {name} --force");
    let units = service.units.iter().map(|number| UnitName { service: name.clone(), number: *number });
    let of_units = worst(units.map(|unit| awaited(model, observed, &unit, &force)));
    let of_relations = || {
        let relations = service.relations.iter().filter_map(|id| model.relations.get(id));
        let inside = relations.flat_map(|relation| &relation.members);
        let others = inside.filter(|(_, member)| member.presence != Presence::Left).map(|(unit, _)| unit);
        worst(others.map(|unit| awaited(model, observed, unit, &force)))
    };
    of_units.or_else(of_relations)
}

/// `None` for a machine that is not dying.
pub fn of_machine(model: &Model, observed: &Observed, id: MachineId) -> Option<Obstacle> {
    model.machines.get(&id).filter(|machine| machine.life == Life::Dying)?;
    let activity = observed.machine_activity.get(&id).cloned();
    let words = activity.unwrap_or_else(|| "waits for its container to be destroyed".to_owned());
    Some(host(observed).unwrap_or(Obstacle::Machine(words)))
}

/// What has to happen to a unit that is waited for; `force` is the command that does not wait.
fn awaited(model: &Model, observed: &Observed, name: &UnitName, force: &str) -> Obstacle {
    next_of(model, observed, name, force).unwrap_or_else(|| Obstacle::Unit(name.clone()))
}

fn next_of(model: &Model, observed: &Observed, name: &UnitName, force: &str) -> Option<Obstacle> {
    let unit = model.units.get(name)?;
    if let Some(failed) = unit.failed.as_ref().filter(|_| unit.life == Life::Alive) {
        let gone = observed.instances.get(&unit.machine) == Some(&Sighting::Missing);
        return Some(match gone {
            true => Obstacle::Lost { unit: name.clone(), machine: unit.machine },
            false => Obstacle::Error { unit: name.clone(), hook: failed.hook.clone(), force: force.to_owned() },
        });
    }
    let due = match hooks::next(model, name) {
        Some(UnitStep::Run(hook)) => Some(hook),
        _ => None,
    };
    let told = |hook: String, runs: bool| Some(Obstacle::Hook { unit: Some(name.clone()), hook, runs });
    if let Some(running) = running_hook(observed, name) {
        // The one that is due says more: whom it is about.
        let same = due.filter(|hook| hook.to_string() == running);
        return told(same.map_or(running.to_owned(), |hook| hook.told()), true);
    }
    let due = due?;
    host(observed).or_else(|| turn(model, observed, name)).or_else(|| told(due.told(), false))
}

/// Whose hook runs on the unit's machine.
fn turn(model: &Model, observed: &Observed, name: &UnitName) -> Option<Obstacle> {
    let machine = model.machines.get(&model.units.get(name)?.machine)?;
    machine.units.iter().find_map(|other| {
        let hook = running_hook(observed, other)?.to_owned();
        Some(Obstacle::Turn { first: other.clone(), hook })
    })
}

fn running_hook<'a>(observed: &'a Observed, unit: &UnitName) -> Option<&'a str> {
    observed.unit_activity.get(unit)?.strip_prefix("running ")
}

fn host(observed: &Observed) -> Option<Obstacle> {
    let words = observed.opening.clone()?;
    Some(Obstacle::Host { words, failed: observed.opening_failed })
}

/// The first that needs an operator, else the first.
fn worst(obstacles: impl Iterator<Item = Obstacle>) -> Option<Obstacle> {
    let mut first = None;
    for obstacle in obstacles {
        if obstacle.needs_operator() {
            return Some(obstacle);
        }
        first.get_or_insert(obstacle);
    }
    first
}
