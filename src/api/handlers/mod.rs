//! One handler a verb: the wire's words become a change, what came of it becomes the answer.

mod add_machine;
mod add_relation;
mod add_unit;
mod check;
mod controller;
pub(super) mod debug_log;
mod deploy;
mod destroy;
mod dying;
pub(super) mod exec;
mod expose;
mod get;
mod history;
pub mod refusal;
mod resolved;
mod set;
mod status;
mod upgrade_charm;
pub(super) mod wait;
pub(super) mod watch;

use indexmap::IndexMap;

use crate::model::{ConstraintError, Constraints, Event, NameError, OptionDecl, Placement};

use super::backend::Backend;
use super::requests::{Done, Refusal};

/// `created machine 1` and the like, from what happened.
fn done(events: &[Event]) -> Done {
    let mut done = Done::default();
    for event in events {
        match event {
            Event::MachineAdded { machine, .. } => done.notes.push(format!("created machine {machine}")),
            Event::UnitAdded { unit, machine } => {
                done.notes.push(format!("unit {unit} is placed on machine {machine}"));
                done.targets.push(unit.to_string());
            }
            _ => {}
        }
    }
    done
}

/// `--to`: nothing, `lxc` (a new container) or a machine's number.
fn placement(to: Option<&str>) -> Result<Placement, Refusal> {
    match to {
        None => Ok(Placement::Automatic),
        Some("lxc" | "new") => Ok(Placement::New),
        Some(text) => {
            let machine = text.parse().map_err(|_| {
                Refusal::new(format!("invalid --to parameter \"{text}\""))
                    .hint("give a machine's number, or `lxc` for a new container")
            })?;
            Ok(Placement::On(machine))
        }
    }
}

fn constraints(text: Option<&str>) -> Result<Constraints, Refusal> {
    let parsed: Result<Constraints, ConstraintError> = text.unwrap_or_default().parse();
    parsed.map_err(|error| {
        let refusal = Refusal::new(error.to_string());
        match error {
            ConstraintError::Unknown(_) => refusal.hint("constraints are mem, cpu-cores, arch and container"),
            ConstraintError::Malformed(_) => refusal.hint("for example `mem=512M cpu-cores=1`"),
            ConstraintError::Bad { .. } => refusal.hint("for example `mem=512M` or `cpu-cores=1`"),
        }
    })
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
