//! What stands in the way of something that is being removed.
//!
//! Removal ends by itself: what dies skips hooks that fail, and waits for no other unit. Only a relation waits for the
//! units of both sides to be told, and a service for its relations; there a unit in error has to be mended, or left out
//! by force.

use std::fmt;

use crate::model::{
    Hook, Life, MachineId, Model, Observed, Power, Presence, Provision, RelationId, Restore, ServiceName, Sighting,
    Unit, UnitActivity, UnitName,
};

use super::hooks::{self, UnitStep};

/// Reads as what comes after "mysql/0 is dying: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A hook, of another unit if one is named; whether it runs now.
    Hook { unit: Option<UnitName>, hook: String, runs: bool },
    /// One at a time on a machine: this comes first, a hook or what an operator asked for.
    Turn { first: UnitName, work: String },
    /// A unit that runs no hook before its error is resolved, the command that does not wait for it, and whether the
    /// hook is tried again by itself with some hope.
    Error { unit: UnitName, hook: Hook, force: String, again: bool },
    /// A unit that is in error, and its machine is gone.
    Lost { unit: UnitName, machine: MachineId },
    /// A unit whose machine an operator has stopped, and the command that does not wait for it.
    Stopped { unit: UnitName, machine: MachineId, force: String },
    /// A unit that is about to be done.
    Unit(UnitName),
    /// Nothing can be done on any machine: why, and whether that failed.
    Host { words: String, failed: bool },
    /// What is being done, or why it could not be, in the words of whoever does it.
    Doing(String),
}

impl Obstacle {
    /// Whether it stays until an operator does something.
    pub fn needs_operator(&self) -> bool {
        matches!(
            self,
            Obstacle::Error { again: false, .. }
                | Obstacle::Lost { .. }
                | Obstacle::Stopped { .. }
                | Obstacle::Host { failed: true, .. }
        )
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
            Obstacle::Turn { first, work } => write!(f, "waits for {work} of {first} on the same machine"),
            Obstacle::Error { unit, hook, force, .. } => {
                write!(f, "waits for {unit}, in error at hook {hook}: `encanto resolved {unit}`, or `{force}`")
            }
            Obstacle::Lost { unit, machine } => {
                write!(f, "waits for {unit}, whose machine is gone: `encanto destroy-machine {machine} --force`")
            }
            Obstacle::Stopped { unit, machine, force } => write!(
                f,
                "waits for {unit}, whose machine {machine} is stopped: `encanto machine start {machine}`, or `{force}`"
            ),
            Obstacle::Unit(unit) => write!(f, "waits for {unit}"),
            Obstacle::Host { words, .. } => write!(f, "waits for the host: {words}"),
            Obstacle::Doing(words) => f.write_str(words),
        }
    }
}

/// `None` for a unit that is not dying, or goes in a moment.
pub fn of_unit(model: &Model, observed: &Observed, name: &UnitName) -> Option<Obstacle> {
    model.units.get(name).filter(|unit| unit.life == Life::Dying)?;
    match observed.unit_activity.get(name) {
        Some(doing @ (UnitActivity::Action { .. } | UnitActivity::Command | UnitActivity::Debugged(_))) => {
            return Some(Obstacle::Doing(doing.to_string()));
        }
        // These are told of below: with what they are about, and for whom.
        Some(UnitActivity::Hook(_) | UnitActivity::Turn { .. }) | None => {}
    }
    match next_of(model, observed, name, "") {
        Some(Obstacle::Hook { unit: Some(unit), hook, runs }) if unit == *name => {
            Some(Obstacle::Hook { unit: None, hook, runs })
        }
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
    let machine = model.machines.get(&id).filter(|machine| machine.life == Life::Dying)?;
    if let Some(host) = host(observed) {
        return Some(host);
    }
    let activity = observed.machine_activity.get(&id).cloned();
    let trouble = || observed.trouble(id).map(|trouble| trouble.words.clone());
    let words = activity.or_else(trouble).unwrap_or_else(|| {
        let containers: Vec<String> = model.containers_of(id).map(|container| container.id.to_string()).collect();
        match containers.is_empty() {
            true if machine.adopted.is_some() => "waits to be released".to_owned(),
            true => format!("waits for its {} to be destroyed", model.noun(id)),
            false => format!("waits for its containers {}", containers.join(", ")),
        }
    });
    Some(Obstacle::Doing(words))
}

/// What has to happen to a unit that is waited for; `force` is the command that does not wait.
fn awaited(model: &Model, observed: &Observed, name: &UnitName, force: &str) -> Obstacle {
    next_of(model, observed, name, force).unwrap_or_else(|| Obstacle::Unit(name.clone()))
}

fn next_of(model: &Model, observed: &Observed, name: &UnitName, force: &str) -> Option<Obstacle> {
    let unit = model.units.get(name)?;
    if let Some(obstacle) = machine_not_up(model, observed, unit, force) {
        return Some(obstacle);
    }
    if let Some(failed) = unit.failed.as_ref().filter(|_| unit.life == Life::Alive) {
        let gone = observed.instances.get(&unit.machine) == Some(&Sighting::Missing);
        return Some(match gone {
            true => Obstacle::Lost { unit: name.clone(), machine: unit.machine },
            false => Obstacle::Error {
                unit: name.clone(),
                hook: failed.hook.clone(),
                force: force.to_owned(),
                again: hooks::promising_retry(unit, observed.retry_hooks).is_some(),
            },
        });
    }
    let due = match hooks::next(model, name) {
        Some(UnitStep::Run(hook)) => Some(hook),
        _ => None,
    };
    let told = |hook: String, runs: bool| Some(Obstacle::Hook { unit: Some(name.clone()), hook, runs });
    if let Some(running) = running_hook(observed, name) {
        // The one that is due says more: whom it is about.
        let same = due.filter(|hook| hook.to_string() == running.to_string());
        return told(same.map_or_else(|| running.to_string(), |hook| hook.told()), true);
    }
    let Some(due) = due else {
        // Its subordinates are dying too; it goes after the last of them.
        return worst(unit.subordinates.iter().map(|other| awaited(model, observed, other, force)));
    };
    host(observed).or_else(|| turn(model, observed, name)).or_else(|| told(due.told(), false))
}

/// A machine that is there and that no hook can run on now.
fn machine_not_up(model: &Model, observed: &Observed, unit: &Unit, force: &str) -> Option<Obstacle> {
    let machine = model.machines.get(&unit.machine)?;
    if machine.is_up() || !matches!(machine.provision, Provision::Running { .. }) {
        return None;
    }
    let id = machine.id;
    if machine.is_off() {
        return Some(Obstacle::Stopped { unit: unit.name.clone(), machine: id, force: force.to_owned() });
    }
    let what = match (&machine.restore, machine.power) {
        (Some(Restore::Due { .. }), _) => "restored",
        (_, Power::Restarting) => "restarted",
        _ => "started",
    };
    let told = match observed.trouble(id) {
        Some(trouble) => {
            format!("waits for machine {id}, which cannot be {}: {}", trouble.work.participle(), trouble.words)
        }
        None => format!("waits for machine {id}, which is being {what}"),
    };
    Some(Obstacle::Doing(told))
}

/// Who holds the unit's machine.
fn turn(model: &Model, observed: &Observed, name: &UnitName) -> Option<Obstacle> {
    let machine = model.machines.get(&model.units.get(name)?.machine)?;
    machine.units.iter().find_map(|other| {
        let work = match observed.unit_activity.get(other)? {
            UnitActivity::Hook(hook) => format!("hook {hook}"),
            UnitActivity::Action { id, name } => format!("action {name} ({id})"),
            UnitActivity::Command => "a command".to_owned(),
            UnitActivity::Debugged(hook) => format!("the operator at hook {hook}"),
            UnitActivity::Turn { .. } => return None,
        };
        Some(Obstacle::Turn { first: other.clone(), work })
    })
}

fn running_hook<'a>(observed: &'a Observed, unit: &UnitName) -> Option<&'a Hook> {
    match observed.unit_activity.get(unit)? {
        UnitActivity::Hook(hook) => Some(hook),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActionId, Change, EndpointRef, Event, MachineChange};

    /// `app/0` on machine 2, `db/0` on machine 1; they are related, and at rest.
    fn environment() -> (Model, Observed) {
        let mut model = Model::default();
        for line in include_str!("../../tests/fixtures/journal-0.1.jsonl").lines() {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let event: Event = serde_json::from_value(entry["event"].clone()).unwrap();
            model.apply(&event, 1);
        }
        (model, Observed::default())
    }

    fn unit(name: &str) -> UnitName {
        name.parse().unwrap()
    }

    fn ask(model: &mut Model, change: Change) {
        model.change(change, 2).unwrap();
    }

    fn destroy(model: &mut Model, name: &str) {
        ask(model, Change::DestroyUnits { units: vec![unit(name)], force: false });
    }

    fn part(model: &mut Model) {
        let end = |name: &str| EndpointRef { service: name.parse().unwrap(), endpoint: None };
        ask(model, Change::DestroyRelation { one: end("app"), other: end("db"), force: false });
    }

    fn fail(model: &mut Model, name: &str) {
        ask(model, Change::FailHook { unit: unit(name), hook: Hook::ConfigChanged, message: "no".into() });
    }

    fn words(obstacle: Option<Obstacle>) -> String {
        obstacle.map(|obstacle| obstacle.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_alive_waits_for_nothing() {
        let (model, observed) = environment();
        assert_eq!(of_unit(&model, &observed, &unit("db/0")), None);
        assert_eq!(of_service(&model, &observed, &"db".parse().unwrap()), None);
        assert_eq!(of_relation(&model, &observed, RelationId(0)), None);
        assert_eq!(of_machine(&model, &observed, MachineId::new(1)), None);
    }

    #[test]
    fn a_dying_unit_waits_for_its_own_hooks_in_their_order() {
        let (mut model, mut observed) = environment();
        destroy(&mut model, "db/0");
        let told = |model: &Model, observed: &Observed| words(of_unit(model, observed, &unit("db/0")));
        assert_eq!(told(&model, &observed), "waits for its hook db-relation-departed (app/0)");
        observed.unit_activity.insert(unit("db/0"), UnitActivity::Hook(Hook::ConfigChanged));
        assert_eq!(told(&model, &observed), "waits for its hook config-changed, which runs");
        let Some(UnitStep::Run(departed)) = hooks::next(&model, &unit("db/0")) else { panic!("nothing is due") };
        observed.unit_activity.insert(unit("db/0"), UnitActivity::Hook(departed));
        assert_eq!(told(&model, &observed), "waits for its hook db-relation-departed (app/0), which runs");
        observed.unit_activity.clear();
        observed.opening = Some("the disk is full".into());
        observed.opening_failed = true;
        assert_eq!(told(&model, &observed), "waits for the host: the disk is full");
        assert!(of_unit(&model, &observed, &unit("db/0")).unwrap().needs_operator());
    }

    #[test]
    fn a_unit_waits_for_its_turn_on_its_machine_only() {
        let (mut model, mut observed) = environment();
        destroy(&mut model, "db/0");
        observed.unit_activity.insert(unit("app/0"), UnitActivity::Hook(Hook::Start));
        assert_eq!(words(of_unit(&model, &observed, &unit("db/0"))), "waits for its hook db-relation-departed (app/0)");
        model.machines.get_mut(&MachineId::new(1)).unwrap().units.insert(unit("app/0"));
        let told = words(of_unit(&model, &observed, &unit("db/0")));
        assert_eq!(told, "waits for hook start of app/0 on the same machine");
        observed.unit_activity.insert(unit("app/0"), UnitActivity::Command);
        let told = words(of_unit(&model, &observed, &unit("db/0")));
        assert_eq!(told, "waits for a command of app/0 on the same machine");
        let (machine, first) = (MachineId::new(1), "db/0".into());
        observed.unit_activity.insert(unit("app/0"), UnitActivity::Turn { machine, first });
        assert_eq!(words(of_unit(&model, &observed, &unit("db/0"))), "waits for its hook db-relation-departed (app/0)");
    }

    #[test]
    fn an_action_or_a_command_is_no_hook() {
        let (mut model, mut observed) = environment();
        destroy(&mut model, "db/0");
        observed.unit_activity.insert(unit("db/0"), UnitActivity::Command);
        assert_eq!(words(of_unit(&model, &observed, &unit("db/0"))), "running a command");
        part(&mut model);
        let (id, name) = (ActionId(0), "backup".parse().unwrap());
        observed.unit_activity.insert(unit("app/0"), UnitActivity::Action { id, name });
        let told = words(of_relation(&model, &observed, RelationId(0)));
        assert_eq!(told, "waits for action backup (0) of app/0 on the same machine");
    }

    #[test]
    fn a_relation_waits_for_both_sides_and_names_first_who_cannot_go_on() {
        let (mut model, mut observed) = environment();
        part(&mut model);
        let told = |model: &Model, observed: &Observed| words(of_relation(model, observed, RelationId(0)));
        assert_eq!(told(&model, &observed), "waits for hook db-relation-departed (db/0) of app/0");
        fail(&mut model, "db/0");
        assert_eq!(
            told(&model, &observed),
            "waits for db/0, in error at hook config-changed: `encanto resolved db/0`, or \
             `encanto destroy-relation app:db db:db --force`"
        );
        observed.instances.insert(MachineId::new(1), Sighting::Missing);
        let lost = "waits for db/0, whose machine is gone: `encanto destroy-machine 1 --force`";
        assert_eq!(told(&model, &observed), lost);
        assert!(of_relation(&model, &observed, RelationId(0)).unwrap().needs_operator());
    }

    #[test]
    fn a_relation_waits_for_a_unit_whose_machine_is_stopped_and_says_how_to_go_on() {
        let (mut model, mut observed) = environment();
        let machines = || vec![MachineId::new(1)];
        ask(&mut model, Change::Machine(MachineChange::Stop { machines: machines() }));
        part(&mut model);
        let told = |model: &Model, observed: &Observed| of_relation(model, observed, RelationId(0));
        let stopped = told(&model, &observed);
        assert!(stopped.as_ref().is_some_and(Obstacle::needs_operator));
        assert_eq!(
            words(stopped),
            "waits for db/0, whose machine 1 is stopped: `encanto machine start 1`, or \
             `encanto destroy-relation app:db db:db --force`"
        );
        ask(&mut model, Change::Machine(MachineChange::Start { machines: machines(), again: Vec::new() }));
        fail(&mut model, "app/0");
        ask(&mut model, Change::DestroyUnits { units: vec![unit("app/0")], force: true });
        assert_eq!(words(told(&model, &observed)), "waits for machine 1, which is being started");
        let (work, words_of_it) = (crate::model::MachineWork::Start, "no room".to_owned());
        let trouble = super::super::patience::failed(None, work, 1, words_of_it);
        observed.troubles.insert(MachineId::new(1), trouble);
        assert_eq!(words(told(&model, &observed)), "waits for machine 1, which cannot be started: no room");
    }

    #[test]
    fn an_operator_is_needed_once_a_hook_is_not_tried_again_or_failed_three_times() {
        let (mut model, mut observed) = environment();
        part(&mut model);
        fail(&mut model, "db/0");
        let needed = |model: &Model, observed: &Observed| {
            of_relation(model, observed, RelationId(0)).is_some_and(|obstacle| obstacle.needs_operator())
        };
        assert!(needed(&model, &observed), "retry is switched off");
        observed.retry_hooks = Some(5_000);
        for failures in [1, 2, 3] {
            assert_eq!(needed(&model, &observed), failures == 3, "after {failures} failures");
            ask(&mut model, Change::Resolve { unit: unit("db/0"), retry: true });
            fail(&mut model, "db/0");
        }
    }

    #[test]
    fn a_service_waits_for_its_units_and_then_for_those_of_its_relations() {
        let (mut model, observed) = environment();
        let db: ServiceName = "db".parse().unwrap();
        ask(&mut model, Change::DestroyServices { services: vec![db.clone()], force: false });
        let told = |model: &Model| words(of_service(model, &observed, &db));
        assert_eq!(told(&model), "waits for hook db-relation-departed (app/0) of db/0");
        ask(&mut model, Change::DestroyUnits { units: vec![unit("db/0")], force: true });
        assert_eq!(told(&model), "waits for hook db-relation-departed (db/0) of app/0");
        fail(&mut model, "app/0");
        let force = "or `encanto destroy-service db --force`";
        assert!(told(&model).ends_with(force), "{}", told(&model));
    }

    #[test]
    fn a_machine_waits_for_what_the_provider_says() {
        let (mut model, mut observed) = environment();
        ask(&mut model, Change::DestroyMachines { machines: vec![MachineId::new(1)], force: true });
        let told = |observed: &Observed| words(of_machine(&model, observed, MachineId::new(1)));
        assert_eq!(told(&observed), "waits for its container to be destroyed");
        observed.machine_activity.insert(MachineId::new(1), "umount: target is busy".into());
        assert_eq!(told(&observed), "umount: target is busy");
    }
}
