//! Removal ends, in whatever state, or says what it waits for.

use encanto::api::backend::Backend;
use encanto::plan::settled::{Condition, Target};
use encanto::provider::Provider;

use super::wait_for;
use crate::support::scenario::{Scenario, story};

story!(a_unit_in_error_is_destroyed_at_once, s, {
    s.fail_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.settle().await;
    s.expect_status("db/0", "error", "error").await;
    s.destroy_unit("db/0", false).await;
    s.settle().await;
    assert!(s.model().units.is_empty());
});

story!(hooks_that_fail_while_dying_do_not_hold_it, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    s.fail_hook("app/0", "db-relation-departed");
    s.fail_hook("app/0", "stop");
    s.destroy_unit("app/0", false).await;
    s.settle().await;
    let hooks = s.hooks_of("app/0");
    assert_eq!(
        hooks[hooks.len() - 3..],
        ["db-relation-departed db/0 (skipped)", "db-relation-broken", "stop (skipped)"]
    );
    assert!(s.hooks_of("db/0").contains(&"db-relation-departed app/0".to_owned()));
});

story!(a_destroyed_service_breaks_its_relations_and_is_gone, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 2).await;
    s.relate("app", "db").await;
    s.settle().await;
    s.destroy_service("db", false).await;
    s.settle().await;
    assert!(!s.status().await.services.contains_key("db"));
    s.expect_status("app/0", "started", "waiting").await;
    assert_eq!(s.hooks_of("app/1").last().map(String::as_str), Some("db-relation-broken"));
    // Juju 1.x: machines stay until they are destroyed; used ones are not given to others.
    assert_eq!(s.machine_numbers(), [1, 2, 3]);
    s.destroy_machine("1", false).await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [2, 3]);
    s.deploy("db", 1).await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [2, 3, 4]);
    assert!(s.model().units.contains_key(&"db/1".parse().unwrap()), "unit numbers are not reused");
});

story!(a_unit_whose_hook_hangs_is_removed_by_force, s, {
    s.hang_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.until_runs("db/0", "install").await;
    s.destroy_unit("db/0", true).await;
    s.settle().await;
    assert!(s.model().units.is_empty());
});

story!(a_machine_goes_with_its_units_by_force, s, {
    s.hang_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.until_runs("db/0", "install").await;
    s.destroy_machine("1", true).await;
    s.settle().await;
    assert!(s.machine_numbers().is_empty() && s.model().units.is_empty());
    assert!(s.provider.spec(&s.instance(1)).is_none());
});

story!(a_machine_that_outlives_its_unit_is_not_called_gone, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let (told, mut tells) = tokio::sync::mpsc::channel(64);
    let target = encanto::plan::settled::Target::Unit("db/0".parse().unwrap());
    let ledger = s.ledger();
    let condition = encanto::plan::settled::Condition::Gone;
    s.hang_hook("db/0", "stop");
    s.destroy_unit("db/0", false).await;
    s.until_runs("db/0", "stop").await;
    let waiting = tokio::spawn(encanto::worker::waiter::wait(ledger, vec![target], condition, None, told));
    tells.recv().await.unwrap(); // it has looked while the unit was there
    s.destroy_unit("db/0", true).await;
    waiting.await.unwrap();
    let mut gone = Vec::new();
    while let Some(tell) = tells.recv().await {
        if let encanto::worker::waiter::Told::Progress(progress) = tell
            && progress.state == "gone"
        {
            gone.push(progress.entity);
        }
    }
    assert_eq!((gone, s.machine_numbers()), (vec!["db/0".to_owned()], vec![1]));
});

story!(a_unit_goes_before_its_machine_was_made, s, {
    s.provider.hold("create");
    s.deploy("db", 1).await;
    s.destroy_unit("db/0", false).await;
    assert!(s.model().units.is_empty());
    s.provider.let_go("create");
    s.settle().await;
    assert_eq!((s.hooks(), s.machine_numbers()), (vec![], vec![1]));
});

story!(a_machine_whose_creation_hangs_says_what_it_does_and_is_destroyed, s, {
    s.provider.hold("create");
    s.deploy("db", 1).await;
    let told = |s: &Scenario| {
        let observed = s.ledger().observed().clone();
        observed.machine_activity.get(&encanto::model::MachineId::new(1)).cloned()
    };
    wait_for(|| told(&s).is_some()).await;
    let pending = s.status().await.machines["1"].clone();
    assert_eq!(pending.agent_state_info.as_deref(), Some("creating the container"));
    assert_eq!((pending.instance_id.as_str(), pending.agent_state), ("pending", None));
    s.destroy_machine("1", true).await;
    assert!(s.model().units.is_empty(), "the unit at once");
    s.settle().await;
    assert!(s.machine_numbers().is_empty());
    s.provider.let_go("create");
});

story!(a_dying_unit_ends_the_hook_that_runs_and_never_starts, s, {
    s.hang_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.until_runs("db/0", "install").await;
    s.destroy_unit("db/0", false).await;
    assert_eq!(s.info_of("db/0").await, "waits for its hook install, which runs");
    s.release_hook("db/0", "install");
    s.settle().await;
    s.expect_hooks("db/0", &["install"]);
    assert!(s.model().services.contains_key(&"db".parse().unwrap()), "the service stays");
});

story!(a_unit_that_dies_while_it_starts_is_stopped_again, s, {
    s.hang_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.until_runs("db/0", "start").await;
    s.destroy_unit("db/0", false).await;
    s.release_hook("db/0", "start");
    s.settle().await;
    s.expect_last_hooks("db/0", &["start", "stop"]);
});

story!(a_dying_unit_meets_nobody_new, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.hang_hook("app/0", "stop");
    s.destroy_unit("app/0", false).await;
    s.until_runs("app/0", "stop").await;
    s.add_unit("db").await;
    s.until("db/1 has started", |model| model.units.get(&"db/1".parse().unwrap()).is_some_and(|unit| unit.started))
        .await;
    s.release_hook("app/0", "stop");
    s.settle().await;
    assert!(!s.hooks().iter().any(|hook| hook.ends_with("joined db/1") && hook.starts_with("app")), "{:?}", s.hooks());
    s.expect_last_hooks("app/0", &["db-relation-departed db/0", "db-relation-broken", "stop"]);
});

story!(a_dying_service_says_whose_hook_it_waits_for, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.hang_hook("app/0", "db-relation-departed");
    s.destroy_service("db", false).await;
    s.until("db/0 is gone", |model| !model.units.contains_key(&"db/0".parse().unwrap())).await;
    s.until_runs("app/0", "db-relation-departed").await;
    let waits = "waits for hook db-relation-departed (db/0) of app/0, which runs";
    let status = s.status().await;
    assert_eq!(status.services["db"].life_info.as_deref(), Some(waits));
    assert_eq!(status.dying_relations["app:db db:db"], waits);
    s.release_hook("app/0", "db-relation-departed");
    s.settle().await;
    assert!(!s.model().services.contains_key(&"db".parse().unwrap()));
});

story!(a_unit_in_error_that_holds_up_a_service_is_named_with_what_to_type, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.fail_hook("app/0", "config-changed");
    s.upgrade("app", "app-next", false).await.unwrap();
    s.settle().await;
    s.destroy_service("db", false).await;
    s.settle().await;
    let waits = "waits for app/0, in error at hook config-changed: `encanto resolved app/0`, or \
                 `encanto destroy-service db --force`";
    assert_eq!(s.status().await.services["db"].life_info.as_deref(), Some(waits));
    // Who waits is told at once, not when his patience ends.
    let reasons = s.wait_fails(&[Target::Service("db".parse().unwrap())], Condition::Gone).await;
    assert_eq!(reasons[0], format!("service db is dying: {waits}"));
    s.destroy_service("db", true).await;
    assert!(!s.model().services.contains_key(&"db".parse().unwrap()));
    s.expect_status("app/0", "error", "error").await;
    s.mend("app/0", "config-changed").await;
    s.settle().await;
    s.expect_last_hooks("app/0", &["config-changed"]);
});

story!(a_relation_is_cut_by_force_whatever_its_units_do, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.fail_hook("app/0", "db-relation-joined");
    s.relate("app", "db").await;
    s.settle().await;
    s.destroy_relation("app", "db", false).await;
    s.settle().await;
    let waits = "waits for app/0, in error at hook db-relation-joined: `encanto resolved app/0`, or \
                 `encanto destroy-relation app:db db:db --force`";
    assert_eq!(s.status().await.dying_relations["app:db db:db"], waits);
    s.destroy_relation("app", "db", true).await;
    s.settle().await;
    assert!(s.model().relations.values().all(|relation| relation.is_peer()));
    // Its error was about what is not there any more.
    s.expect_status("app/0", "started", "waiting").await;
    let resolved = encanto::api::Resolved { unit: "app/0".into(), retry: true };
    assert_eq!(s.ask(resolved).await.unwrap_err().error, "unit \"app/0\" is not in an error state");
    s.heal_hook("app/0", "db-relation-joined");
    s.relate("app", "db").await;
    s.wait_active().await;
});

story!(a_hook_of_a_relation_that_was_cut_meanwhile_leaves_nothing_behind, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 2).await;
    s.wait_fails(&[], Condition::Started).await;
    s.hang_hook("app/0", "db-relation-joined");
    s.hang_hook("app/1", "db-relation-joined");
    s.fail_hook("app/1", "db-relation-joined");
    s.relate("app", "db").await;
    s.until_runs("app/0", "db-relation-joined").await;
    s.until_runs("app/1", "db-relation-joined").await;
    s.destroy_relation("db", "app", true).await;
    assert!(s.model().relations.values().all(|relation| relation.is_peer()));
    s.release_hook("app/0", "db-relation-joined");
    s.release_hook("app/1", "db-relation-joined");
    s.settle().await;
    for unit in ["app/0", "app/1"] {
        s.expect_status(unit, "started", "waiting").await;
    }
});

story!(a_dying_unit_says_whose_turn_it_is_on_its_machine, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.deploy_to("app", "1").await;
    s.settle().await;
    s.hang_hook("db/0", "config-changed");
    s.set("db", "size", "2").await;
    s.until_runs("db/0", "config-changed").await;
    s.destroy_unit("app/0", false).await;
    assert_eq!(s.info_of("app/0").await, "waits for hook config-changed of db/0 on the same machine");
    s.release_hook("db/0", "config-changed");
    s.settle().await;
    s.expect_last_hooks("app/0", &["stop"]);
    assert_eq!(s.model().machines[&encanto::model::MachineId::new(1)].units.len(), 1);
});

story!(force_also_ends_what_is_dying_already, s, {
    s.deploy("db", 2).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    for unit in ["db/0", "db/1"] {
        s.hang_hook(unit, "stop");
    }
    s.hang_hook("app/0", "db-relation-departed");
    s.destroy_service("db", false).await;
    s.until_runs("db/1", "stop").await;
    s.until_runs("app/0", "db-relation-departed").await;
    s.destroy_service("db", true).await;
    assert!(!s.model().services.contains_key(&"db".parse().unwrap()), "the other side is not waited for either");
    s.release_hook("app/0", "db-relation-departed");
    s.settle().await;
    s.destroy_machine("1", false).await;
    s.destroy_machine("2", false).await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [3]);
});

story!(a_unit_whose_container_is_lost_goes_without_waiting, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.provider.vanish(&s.instance(1));
    s.until_instance(1, "missing", 0).await;
    s.destroy_unit("db/0", false).await;
    s.settle().await;
    assert!(s.hooks_of("db/0").contains(&"stop (skipped)".to_owned()), "{:?}", s.hooks_of("db/0"));
    s.expect_last_hooks("app/0", &["db-relation-departed db/0"]);
    s.destroy_machine("1", false).await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [2]);
});

story!(a_machine_that_cannot_be_destroyed_says_why_until_it_can, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.provider.fail_next("destroy", "umount: target is busy");
    s.destroy_machine("1", true).await;
    let machine = encanto::model::MachineId::new(1);
    let told = |observed: &encanto::model::Observed| {
        observed.trouble(machine).is_some_and(|trouble| trouble.words == "umount: target is busy")
    };
    s.until_observed("the failure", told).await;
    let dying = s.status().await.machines["1"].clone();
    assert_eq!(
        (dying.life.as_deref(), dying.agent_state_info.as_deref()),
        (Some("dying"), Some("umount: target is busy"))
    );
    s.kill_controller().await;
    s.start_controller().await;
    s.settle().await;
    assert!(s.machine_numbers().is_empty() && s.provider.spec(&s.instance(1)).is_none());
});

story!(a_service_in_every_state_is_destroyed_without_force, s, {
    s.deploy("db", 4).await;
    s.wait_active().await;
    s.provider.hold("create");
    s.add_unit("db").await;
    s.fail_hook("db/1", "config-changed");
    s.hang_hook("db/2", "config-changed");
    s.set("db", "size", "2").await;
    s.until_runs("db/2", "config-changed").await;
    s.until("db/1 is in error", |model| model.units[&"db/1".parse().unwrap()].failed.is_some()).await;
    s.provider.vanish(&s.instance(4));
    s.destroy_service("db", false).await;
    s.release_hook("db/2", "config-changed");
    s.until("the service is gone", |model| model.services.is_empty()).await;
    s.provider.let_go("create");
    s.settle().await;
    for machine in ["1", "2", "3", "4", "5"] {
        s.destroy_machine(machine, false).await;
    }
    s.settle().await;
    assert!(s.machine_numbers().is_empty());
});

story!(what_dies_while_the_host_is_not_ready_says_so, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.kill_controller().await;
    s.provider.hold("open");
    s.start_controller().await;
    s.destroy_unit("db/0", false).await;
    // It has left its peers, which takes no machine.
    s.until("only stop is left", |model| model.units[&"db/0".parse().unwrap()].scopes.is_empty()).await;
    assert_eq!(s.info_of("db/0").await, "waits for the host: opening the provider");
    s.provider.let_go("open");
    s.settle().await;
    assert!(s.model().units.is_empty());
});

story!(an_environment_is_destroyed_in_the_middle_of_everything, s, {
    s.deploy("db", 2).await;
    s.wait_active().await;
    s.hang_hook("db/0", "config-changed");
    s.fail_hook("db/1", "config-changed");
    s.set("db", "size", "2").await;
    s.until_runs("db/0", "config-changed").await;
    s.provider.hold("create");
    s.deploy("prepared", 2).await;
    s.destroy_unit("db/0", false).await;
    s.backend().destroy().await.unwrap();
    s.provider.let_go("create");
    assert_eq!(s.provider.list().await.unwrap().len(), 0);
    s = Scenario::new().await;
});

story!(a_unit_whose_machine_could_not_be_made_goes_at_once, s, {
    s.provider.fail_next("create", "lxc-start: no space left on device");
    s.deploy("db", 1).await;
    s.settle().await;
    let reasons = s.wait_fails(&[], Condition::Active).await;
    assert!(
        reasons.contains(&"db/0 is in error: machine 1 failed: lxc-start: no space left on device".into()),
        "{reasons:?}"
    );
    s.destroy_unit("db/0", false).await;
    assert!(s.model().units.is_empty());
    s.destroy_machine("1", false).await;
    s.settle().await;
    assert!(s.machine_numbers().is_empty());
});

story!(what_is_dying_is_not_touched_by_being_destroyed_again, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.hang_hook("app/0", "db-relation-departed");
    s.destroy_relation("app", "db", false).await;
    s.destroy_service("app", false).await;
    s.until_runs("app/0", "db-relation-departed").await;
    let before = s.journal.entries().len();
    s.destroy_unit("app/0", false).await;
    s.destroy_relation("app", "db", false).await;
    s.destroy_service("app", false).await;
    let since: Vec<_> = s.journal.entries().split_off(before);
    assert!(since.iter().all(|entry| entry.by.starts_with('@')), "{since:#?}");
    s.release_hook("app/0", "db-relation-departed");
    s.settle().await;
    s.expect_last_hooks("app/0", &["db-relation-departed db/0", "db-relation-broken", "stop"]);
});
