//! One handler a verb: the wire's words become a change, what came of it becomes the answer.

mod action;
mod add_machine;
mod add_relation;
mod add_unit;
mod adopt_machine;
pub(super) mod backup;
mod check;
mod controller;
pub(super) mod debug_hooks;
pub(super) mod debug_log;
mod deploy;
mod destroy;
mod dying;
pub(super) mod exec;
mod expose;
mod get;
mod get_constraints;
mod history;
pub mod refusal;
mod release_machine;
mod resolved;
mod run;
mod set;
mod set_constraints;
mod status;
mod stream;
mod upgrade_charm;
pub(super) mod wait;
pub(super) mod watch;

use indexmap::IndexMap;

use crate::model::{
    ConstraintError, Constraints, Event, MachineId, Model, NameError, OptionDecl, Placement, Provision, Subject,
};

use super::backend::Backend;
use super::requests::{Done, Refusal};

/// `created machine 1` and the like, from what happened.
fn done(events: &[Event]) -> Done {
    let mut done = Done::default();
    for event in events {
        match event {
            Event::MachineAdded { machine, .. } => {
                let kind = if machine.host().is_some() { "container" } else { "machine" };
                done.notes.push(format!("created {kind} {machine}"));
            }
            Event::MachineAdopted { machine, adopted, .. } => {
                done.notes.push(format!("adopting {adopted} as machine {machine}"));
                done.targets.push(machine.to_string());
            }
            Event::UnitAdded { unit, machine, .. } => {
                done.notes.push(format!("unit {unit} is placed on machine {machine}"));
                done.targets.push(unit.to_string());
            }
            _ => {}
        }
    }
    done
}

/// `--to`: nothing, `lxc` (a new machine), `lxc:1` (a new container on machine 1) or a machine: `1`, `1/lxc/0`.
fn placement(to: Option<&str>) -> Result<Placement, Refusal> {
    let Some(text) = to else { return Ok(Placement::Automatic) };
    if matches!(text, "lxc" | "new") {
        return Ok(Placement::New);
    }
    let (inside, id) = text.strip_prefix("lxc:").map_or((false, text), |id| (true, id));
    match id.parse() {
        Ok(machine) if inside => Ok(Placement::Inside(machine)),
        Ok(machine) => Ok(Placement::On(machine)),
        Err(error @ NameError::NestedMachine(_)) => Err(refusal::bad_name(&error)),
        Err(_) => Err(Refusal::new(format!("invalid --to parameter \"{text}\""))
            .hint("a machine, `lxc` for a new one, or `lxc:1` for a new container on machine 1")),
    }
}

/// Whether a name is that of a machine: `1`, `1/lxc/0`. Units and services begin with a letter.
fn is_machine(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// A unit or a machine.
fn subject(text: &str) -> Result<Subject, Refusal> {
    if is_machine(text) {
        Ok(Subject::Machine(name(text)?))
    } else if text.contains('/') {
        Ok(Subject::Unit(name(text)?))
    } else {
        Err(Refusal::new(format!("\"{text}\" is neither a unit nor a machine")).hint("for example `mysql/0` or `1`"))
    }
}

fn constraints(text: Option<&str>) -> Result<Constraints, Refusal> {
    let parsed: Result<Constraints, ConstraintError> = text.unwrap_or_default().parse();
    parsed.map_err(|error| {
        let refusal = Refusal::new(error.to_string());
        match error {
            ConstraintError::Unknown(_) => {
                refusal.hint("constraints are mem, cpu-cores, arch, container, root-disk and tags")
            }
            ConstraintError::Malformed(_) => refusal.hint("for example `mem=512M cpu-cores=1`"),
            ConstraintError::Bad { .. } => refusal.hint("for example `mem=512M` or `cpu-cores=1`"),
        }
    })
}

/// What the operator should know of the constraints he gave.
fn constraint_notes(model: &Model, constraints: &Constraints) -> Vec<String> {
    match model.machines.get(&MachineId::HOST).map(|machine| &machine.provision) {
        Some(Provision::Host { hardware, .. }) => constraints.notes(hardware),
        _ => Vec::new(),
    }
}

fn name<T: std::str::FromStr<Err = NameError>>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error: NameError| refusal::bad_name(&error))
}

/// RFC 3339, UTC, milliseconds.
fn time_text(at: crate::model::Millis) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(at).unwrap_or_default())
}

/// A fresh random value for each option that wants one; who has a value keeps it.
fn generated(backend: &dyn Backend, declared: &IndexMap<String, OptionDecl>) -> IndexMap<String, String> {
    let wanted = declared.iter().filter_map(|(key, decl)| Some((key, decl.generate?)));
    wanted.map(|(key, length)| (key.clone(), backend.random_text(length))).collect()
}
