//! What random operators found about relations, told one by one.

use encanto::model::*;
use encanto::plan::hooks::{self, UnitStep};

use super::oracle::End;
use super::{World, deployment};

#[test]
fn a_unit_that_joined_while_it_was_removed_by_force_departs() {
    let mut world = World::new();
    world.change(deployment(&"db".parse().unwrap(), 1)).unwrap();
    world.change(deployment(&"app".parse().unwrap(), 1)).unwrap();
    let end = |service: &str| EndpointRef { service: service.parse().unwrap(), endpoint: None };
    world.change(Change::AddRelation { one: end("app"), other: end("db") }).unwrap();
    let (app, db): (UnitName, UnitName) = ("app/0".parse().unwrap(), "db/0".parse().unwrap());
    let joins = |world: &World| match hooks::next(&world.model, &app) {
        Some(UnitStep::Run(hook)) if hook.to_string() == "db-relation-joined" => Some(hook),
        _ => None,
    };
    let joined = loop {
        if let Some(hook) = joins(&world) {
            break hook;
        }
        assert!(world.work(0));
    };
    world.ran(&app, &joined, End::Returned);
    let commit = world.commit(app.clone(), joined);
    world.change(Change::DestroyUnits { units: vec![db.clone()], force: true }).unwrap();
    world.change(commit).unwrap();
    let next = hooks::next(&world.model, &app);
    let departs =
        |hook: &Hook| matches!(hook, Hook::Relation { kind: RelationHook::Departed(unit), .. } if *unit == db);
    assert!(matches!(&next, Some(UnitStep::Run(hook)) if departs(hook)), "{next:?}");
    world.work_to_the_end();
    assert_eq!(world.oracle.at_rest(&world.model), Vec::<String>::new());
}

#[test]
fn what_failed_in_a_relation_that_was_left_is_skipped_without_a_trace() {
    let mut world = World::new();
    world.change(deployment(&"db".parse().unwrap(), 1)).unwrap();
    let db: UnitName = "db/0".parse().unwrap();
    let hook = loop {
        match hooks::next(&world.model, &db) {
            Some(UnitStep::Run(hook)) if hook.to_string() == "cluster-relation-created" => break hook,
            _ => assert!(world.work(0)),
        }
    };
    world.ran(&db, &hook, End::Failed);
    world.change(Change::FailHook { unit: db.clone(), hook, message: "no".into() }).unwrap();
    world.change(Change::DestroyUnits { units: vec![db.clone()], force: false }).unwrap();
    assert!(matches!(hooks::next(&world.model, &db), Some(UnitStep::Leave(_))));
    world.work(0);
    let resolved = world.change(Change::Resolve { unit: db.clone(), retry: false });
    assert_eq!(resolved, Err(ChangeError::UnitNotInError(db)));
    world.work_to_the_end();
    assert!(world.model.units.is_empty());
}
