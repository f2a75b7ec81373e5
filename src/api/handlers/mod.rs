//! One handler a verb: the wire's words become a change, what came of it becomes the answer.

mod action;
mod add_machine;
mod add_relation;
mod add_unit;
mod adopt_machine;
pub(super) mod backup;
mod check;
mod clone_machine;
pub(super) mod console;
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
mod list_machines;
pub mod refusal;
mod release_machine;
mod resolved;
mod restore_machine;
mod run;
mod set;
mod set_constraints;
mod snapshot;
mod status;
mod stop_machine;
mod stream;
mod upgrade_charm;
pub(super) mod wait;
pub(super) mod watch;

use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::model::{
    ConstraintError, Constraints, Event, INSIDE, KindError, MachineId, MachineName, Model, NameError, OptionDecl,
    Placement, Provision, Sighting, Subject,
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
            Event::MachineCloned { machine, from } => {
                done.notes.push(format!("machine {machine} becomes a copy of machine {from}"));
            }
            Event::MachineNamed { machine, name } => {
                done.notes.push(format!("machine {machine} is called {name}"));
            }
            // Of itself only if what is removed needs it.
            Event::MachineStartAsked { machine } => {
                done.notes.push(format!("machine {machine} is started for the last hooks of its units"));
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

/// `--to`: nothing, a kind (a new machine of it), `lxc:1` (a new container on machine 1) or a machine: `1`, `1/lxc/0`.
fn placement(to: Option<&str>, model: &Model) -> Result<Placement, Refusal> {
    let Some(text) = to else { return Ok(Placement::Automatic) };
    match place(text, model) {
        _ if text == "new" => Ok(Placement::New),
        Ok(Place::New(word)) => Ok(Placement::Kind(word)),
        Ok(Place::Inside(machine)) => Ok(Placement::Inside(machine)),
        Err(PlaceError::Refused(refusal)) => Err(refusal),
        Err(PlaceError::Unknown) => match named_machine(model, text) {
            Ok(machine) => Ok(Placement::On(machine)),
            Err(error @ NameError::NestedMachine(_)) => Err(refusal::bad_name(&error)),
            Err(_) => Err(Refusal::new(format!("invalid --to parameter \"{text}\"")).hint(format!(
                "a machine, {} for a new one, or `lxc:1` for a new container on machine 1",
                model.kinds.words()
            ))),
        },
    }
}

/// Where something new is to be.
enum Place {
    /// A machine of the kind that the word means.
    New(String),
    /// A container on a machine.
    Inside(MachineId),
}

enum PlaceError {
    /// The text names no kind.
    Unknown,
    Refused(Refusal),
}

/// `kvm` is a new machine of that kind, `lxc:1` a new container on machine 1.
fn place(text: &str, model: &Model) -> Result<Place, PlaceError> {
    let refused = |refusal| Err(PlaceError::Refused(refusal));
    let (word, machine) = match text.split_once(':') {
        None => (text, None),
        Some((word, machine)) => (word, Some(machine)),
    };
    let kind = match model.kinds.named(word) {
        Ok(kind) => Some(kind),
        Err(error @ KindError::Absent { .. }) => return refused(refusal::bad_kind(&error)),
        Err(_) => None,
    };
    match (machine.map(|text| named_machine(model, text)), kind) {
        (None, Some(_)) => Ok(Place::New(word.to_owned())),
        // Before the provider was asked for its kinds it makes one at least.
        (None, None) if word == INSIDE => Ok(Place::New(word.to_owned())),
        (Some(Ok(machine)), _) if word == INSIDE => Ok(Place::Inside(machine)),
        (Some(Err(error @ NameError::NestedMachine(_))), _) => refused(refusal::bad_name(&error)),
        (Some(Ok(machine)), Some(kind)) => refused(
            Refusal::new(format!("cannot put a {} on machine {machine}", kind.noun))
                .hint(format!("`{INSIDE}:{machine}` makes a container on machine {machine}"))
                .hint(format!("`{word}` makes a machine of its own: it would be no part of machine {machine} anyway")),
        ),
        _ => Err(PlaceError::Unknown),
    }
}

/// What keeps new machines from their host less well than one expects; told with the first of each such kind.
fn cautions(model: &Model, events: &[Event]) -> Vec<String> {
    let made = |event: &Event| match event {
        Event::MachineAdded { constraints, .. } => constraints.virt_type.clone(),
        _ => None,
    };
    let made: Vec<String> = events.iter().filter_map(made).collect();
    let first = |name: &String| {
        let all = model.machines.values().filter(|machine| machine.constraints.virt_type.as_ref() == Some(name));
        all.count() == made.iter().filter(|other| *other == name).count()
    };
    let kinds = made.iter().collect::<BTreeSet<_>>().into_iter().filter(|name| first(name));
    kinds.filter_map(|name| Some(format!("{name}: {}", model.kinds.get(name)?.caution.as_ref()?))).collect()
}

/// Whether a name is that of a machine: `1`, `1/lxc/0`. Units and services begin with a letter.
fn is_machine(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// The machine of this id, or the one that is called so. Whether there is one of that id is not looked at.
fn named_machine(model: &Model, text: &str) -> Result<MachineId, NameError> {
    let called = || text.parse().ok().and_then(|name: MachineName| Some(model.machine_named(&name)?.id));
    text.parse().or_else(|error| called().ok_or(error))
}

/// The same, as an operator has to hear it.
fn machine(model: &Model, text: &str) -> Result<MachineId, Refusal> {
    named_machine(model, text).map_err(|error| refusal::bad_name(&error))
}

/// All of them, and at least one.
fn machines(model: &Model, texts: &[String]) -> Result<Vec<MachineId>, Refusal> {
    if texts.is_empty() {
        return Err(Refusal::new("no machines specified"));
    }
    texts.iter().map(|text| machine(model, text)).collect()
}

/// # Errors
/// An instance is known to be gone: only destroying the machine is left.
fn not_lost(backend: &dyn Backend, machines: &[MachineId]) -> Result<(), Refusal> {
    let (model, observed) = (backend.model(), backend.observed());
    let gone = |id: &&MachineId| observed.instances.get(id) == Some(&Sighting::Missing);
    match machines.iter().find(gone) {
        Some(id) => Err(refusal::lost(*id, model.noun(*id))),
        None => Ok(()),
    }
}

/// A unit or a machine.
fn subject(model: &Model, text: &str) -> Result<Subject, Refusal> {
    if is_machine(text) {
        Ok(Subject::Machine(name(text)?))
    } else if text.contains('/') {
        Ok(Subject::Unit(name(text)?))
    } else if let Ok(machine) = named_machine(model, text) {
        Ok(Subject::Machine(machine))
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
                refusal.hint("constraints are mem, cpu-cores, arch, container, virt-type, root-disk and tags")
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
