//! Journals of every released version are read for ever: an event never changes its meaning.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]

use std::path::Path;

use encanto::model::{Event, Model, check};
use encanto::plan::hooks;

#[derive(serde::Deserialize)]
struct Line {
    at: i64,
    event: Event,
}

fn replayed(name: &str) -> Model {
    let mut model = Model::default();
    go_on(&mut model, name);
    model
}

fn go_on(model: &mut Model, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        model.apply(&line.event, line.at);
    }
}

#[test]
fn a_journal_of_0_1_gives_the_same_environment() {
    let model = replayed("journal-0.1.jsonl");
    assert_eq!(check::inconsistencies(&model), Vec::<String>::new());
    let units: Vec<String> = model.units.keys().map(ToString::to_string).collect();
    assert_eq!(units, ["app/0", "db/0"]);
    let machines: Vec<u32> = model.machines.keys().map(|id| id.number()).collect();
    assert_eq!(machines, [0, 1, 2, 4]);
    let db = &model.services[&"db".parse().unwrap()];
    assert_eq!((db.config["size"].to_string().as_str(), db.exposed), ("7", false));
    let app = &model.units[&"app/0".parse().unwrap()];
    assert!(app.workload.message.starts_with("serving from 10."), "{:?}", app.workload);
    assert!(model.units.keys().all(|unit| hooks::next(&model, unit).is_none()), "nothing is due");
}

#[test]
fn the_events_of_actions_keep_their_meaning() {
    let mut model = replayed("journal-0.1.jsonl");
    go_on(&mut model, "actions-0.1.jsonl");
    assert_eq!(check::inconsistencies(&model), Vec::<String>::new());
    let told = model.actions.values().map(|action| format!("{} {} {}", action.id, action.name, action.state.as_str()));
    assert_eq!(told.collect::<Vec<_>>(), ["0 backup completed", "1 check cancelled", "2 check failed"]);
    let first = &model.actions[&encanto::model::ActionId(0)];
    assert_eq!((first.timeout, first.params.len(), first.secret.len()), (Some(60_000), 3, 1));
    assert_eq!(model.units[&"db/0".parse().unwrap()].state["backups"], 1);
    assert_eq!(model.next_action, 3);
}

#[test]
fn machines_of_before_there_were_kinds_are_of_the_first_that_was_told() {
    let mut model = replayed("journal-0.1.jsonl");
    assert!(model.machines.values().all(|machine| machine.constraints.virt_type.is_none()));
    go_on(&mut model, "kinds-0.1.jsonl");
    assert_eq!(check::inconsistencies(&model), Vec::<String>::new());
    let kinds = model.machines.values().map(|machine| machine.constraints.virt_type.as_deref().unwrap_or_default());
    assert_eq!(kinds.collect::<Vec<_>>(), ["", "lxc", "lxc", "lxc", "libvirt-lxc"], "whatever is the default later");
    assert_eq!(model.services[&"db".parse().unwrap()].constraints.to_string(), "container=kvm virt-type=kvm");
    assert_eq!(model.kinds.words(), "`libvirt-lxc` or `lxc`");
    assert_eq!(model.noun(encanto::model::MachineId::new(5)), "libvirt container");
}

#[test]
fn what_was_adopted_is_somebodys_still() {
    let mut model = replayed("journal-0.1.jsonl");
    go_on(&mut model, "adoption-0.1.jsonl");
    assert_eq!(check::inconsistencies(&model), Vec::<String>::new());
    let adopted = model.machines.values().filter_map(|machine| Some((machine.id.number(), machine.adopted.as_ref()?)));
    let told: Vec<String> = adopted.map(|(number, adopted)| format!("{number} {adopted}")).collect();
    assert_eq!(told, ["6 folder /srv/root"]);
    let six = encanto::model::MachineId::new(6);
    assert!(model.next_machine == 7 && !model.unused.contains(&six), "no unit gets it by itself");
}

#[test]
fn what_operators_want_of_machines_keeps_its_meaning() {
    use encanto::model::{MachineId, Power, Restore};
    let mut model = replayed("journal-0.1.jsonl");
    go_on(&mut model, "machines-0.1.jsonl");
    assert_eq!(check::inconsistencies(&model), Vec::<String>::new());
    let machine = |number| &model.machines[&MachineId::new(number)];
    let power = [1, 2, 4, 5].map(|number| machine(number).power);
    assert_eq!(power, [Power::On, Power::Starting, Power::Off, Power::On]);
    assert_eq!(machine(1).name.as_ref().map(|name| name.as_str()), Some("big-box"));
    assert_eq!((machine(1).copies_due.len(), machine(5).copy_of), (1, Some(MachineId::new(1))));
    assert_eq!(machine(1).restore, None);
    let failed = Restore::Failed { snapshot: "x".parse().unwrap(), message: "no such snapshot".into() };
    assert_eq!(machine(2).restore, Some(failed));
    assert!(machine(1).is_up() && !machine(2).is_up() && !model.unused.contains(&MachineId::new(5)));
}
