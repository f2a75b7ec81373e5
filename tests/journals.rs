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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let mut model = Model::default();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        model.apply(&line.event, line.at);
    }
    model
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
