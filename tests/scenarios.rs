//! Life cycles, told to a real controller on the simulated provider. Each ends with: and now nothing happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use support::scenario::{Scenario, story};

story!(a_unit_installs_configures_and_starts, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    assert_eq!(s.hooks_of("db/0"), ["install", "cluster-relation-created", "config-changed", "start"]);
    s.expect_unit("db/0", "started", "active").await;
});

story!(relations_before_or_after_give_the_same, s, {
    s.deploy("app", 1).await;
    s.deploy("db", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    s.expect_unit("app/0", "started", "active").await;
    let app: Vec<String> = s.hooks_of("app/0").into_iter().filter(|hook| hook.starts_with("db-")).collect();
    assert_eq!(app[..3], ["db-relation-created", "db-relation-joined db/0", "db-relation-changed db/0"]);
    // Once more at most, when what the other side wrote came after the first look.
    assert!(app[3..].iter().all(|hook| hook == "db-relation-changed db/0") && app.len() <= 4, "{app:?}");
    let db: Vec<String> = s.hooks_of("db/0").into_iter().filter(|hook| hook.starts_with("db-")).collect();
    assert_eq!(db, ["db-relation-created", "db-relation-joined app/0", "db-relation-changed app/0"]);
});

story!(peers_meet_each_other_and_are_never_broken, s, {
    s.deploy("db", 2).await;
    s.settle().await;
    assert!(s.hooks_of("db/0").contains(&"cluster-relation-joined db/1".to_owned()), "{:?}", s.hooks());
    s.destroy_unit("db/1", false).await;
    s.settle().await;
    assert!(s.hooks_of("db/0").contains(&"cluster-relation-departed db/1".to_owned()), "{:?}", s.hooks());
    assert!(!s.hooks().iter().any(|hook| hook.contains("broken")), "{:?}", s.hooks());
});

story!(config_is_seen_by_every_unit_and_only_if_it_changed, s, {
    s.deploy("db", 2).await;
    s.settle().await;
    s.set("db", "size", "1").await;
    s.settle().await;
    let count = |hooks: Vec<String>| hooks.iter().filter(|hook| *hook == "config-changed").count();
    assert_eq!(count(s.hooks_of("db/0")), 1);
    s.set("db", "size", "7").await;
    s.settle().await;
    assert_eq!((count(s.hooks_of("db/0")), count(s.hooks_of("db/1"))), (2, 2));
});

story!(a_failed_hook_is_told_and_commits_nothing, s, {
    s.fail_hook("db/0", "db-relation-joined");
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    s.expect_unit("db/0", "error", "error").await;
    s.expect_unit("app/0", "started", "waiting").await;
    let status = s.status().await;
    let info = status.services["db"].units["db/0"].agent_state_info.clone().unwrap();
    assert!(info.starts_with("hook failed: \"db-relation-joined\": charm.lua:"), "{info}");
    assert!(info.contains("E: no room left"), "{info}");
});

story!(a_unit_in_error_is_destroyed_at_once, s, {
    s.fail_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.settle().await;
    s.expect_unit("db/0", "error", "error").await;
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
    s.expect_unit("app/0", "started", "waiting").await;
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

story!(a_machine_that_cannot_be_made_says_why_and_can_be_destroyed, s, {
    s.provider.fail_next("create", "lxc-start: no space left on device");
    s.deploy("db", 1).await;
    s.settle().await;
    let status = s.status().await;
    assert_eq!(status.machines["1"].agent_state_info.as_deref(), Some("lxc-start: no space left on device"));
    assert_eq!(status.machines["1"].agent_state.as_deref(), Some("error"));
    s.destroy_machine("1", true).await;
    s.settle().await;
    assert!(s.machine_numbers().is_empty());
});

story!(what_a_charm_prepares_is_made_once_and_shared, s, {
    s.deploy("prepared", 3).await;
    s.settle().await;
    s.expect_unit("prepared/2", "started", "active").await;
    let status = s.status().await;
    assert_eq!(status.services["prepared"].units["prepared/2"].workload_status.message, "1");
    let seals = s.provider.calls().iter().filter(|call| call.kind == "seal").count();
    assert_eq!(seals, 1);
    assert!(!s.hooks().iter().any(|hook| hook.ends_with(" prepare")), "{:?}", s.hooks());
});

story!(a_used_machine_is_prepared_in_place, s, {
    s.ask(encanto::api::AddMachine { count: 1, series: None, constraints: None, placement: None }).await.unwrap();
    s.settle().await;
    s.deploy("prepared", 1).await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [1], "a clean and empty machine is taken");
    assert_eq!(s.hooks_of("prepared/0")[..2], ["prepare", "install"]);
    s.expect_unit("prepared/0", "started", "active").await;
});

story!(a_failed_preparation_is_the_units_error, s, {
    s.fail_hook("build", "prepare");
    s.deploy("prepared", 1).await;
    s.settle().await;
    s.expect_unit("prepared/0", "error", "error").await;
    let info = s.status().await.services["prepared"].units["prepared/0"].agent_state_info.clone().unwrap();
    assert!(info.starts_with("hook failed: \"prepare\"") && info.contains("no room left"), "{info}");
    s.destroy_unit("prepared/0", false).await;
    s.settle().await;
    assert!(s.model().units.is_empty());
    let leftovers = s.provider.calls().iter().filter(|call| call.kind == "destroy").count();
    assert!(leftovers >= 1, "the scratch instance is taken down");
});

story!(ports_are_open_only_while_exposed, s, {
    s.deploy("app", 1).await;
    s.settle().await;
    assert!(s.provider.published().is_empty());
    s.expose("app", &["8080:80"]).await;
    let shown = |s: &Scenario| -> Vec<String> {
        s.provider.published().iter().map(|p| format!("{:?} {}", p.host_port, p.port)).collect()
    };
    wait_for(|| shown(&s).len() == 2).await;
    assert_eq!(shown(&s), ["None 80", "Some(8080) 80"]);
    s.ask(encanto::api::Unexpose { service: "app".into() }).await.unwrap();
    wait_for(|| shown(&s).is_empty()).await;
    s.expose("app", &[]).await;
    wait_for(|| shown(&s).len() == 1).await;
    s.destroy_unit("app/0", false).await;
    wait_for(|| shown(&s).is_empty()).await;
});

story!(a_killed_controller_repeats_what_was_interrupted_and_nothing_else, s, {
    s.hang_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.until_runs("db/0", "start").await;
    s.until("app/0 has started", |model| model.units.get(&"app/0".parse().unwrap()).is_some_and(|unit| unit.started))
        .await;
    s.kill_controller().await;
    s.release_hook("db/0", "start");
    s.start_controller().await;
    s.settle().await;
    s.expect_unit("app/0", "started", "active").await;
    for hook in ["install", "config-changed", "start"] {
        for unit in ["db/0", "app/0"] {
            assert_eq!(s.hooks_of(unit).iter().filter(|ran| *ran == hook).count(), 1, "{unit} {hook}");
        }
    }
});

story!(a_controller_killed_at_any_moment_ends_in_the_same_state, s, {
    for round in 0..15 {
        let (db, app) = (format!("db-r{}", letter(round)), format!("app-r{}", letter(round)));
        s.try_deploy("db", &db, 1).await.unwrap();
        s.try_deploy("app", &app, 2).await.unwrap();
        s.relate(&app, &db).await;
        tokio::time::sleep(std::time::Duration::from_millis(round * 3)).await;
        s.kill_controller().await;
        s.start_controller().await;
        s.settle().await;
        for unit in [format!("{app}/0"), format!("{app}/1"), format!("{db}/0")] {
            s.expect_unit(&unit, "started", "active").await;
            let hooks = s.hooks_of(&unit);
            assert_eq!(hooks.iter().filter(|hook| *hook == "install").count(), 1, "{hooks:?}");
            let joined: Vec<&String> = hooks.iter().filter(|hook| hook.contains("-joined")).collect();
            let once: std::collections::BTreeSet<&&String> = joined.iter().collect();
            assert_eq!(joined.len(), once.len(), "{hooks:?}");
        }
    }
});

story!(stopped_instances_are_started_again_by_the_next_controller, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.kill_controller().await;
    s.provider.stop_behind(&s.instance(1));
    s.start_controller().await;
    s.settle().await;
    let status = s.status().await;
    assert_eq!(status.machines["1"].instance_state.as_deref(), Some("running"));
    assert!(s.provider.calls().iter().any(|call| call.kind == "start"));
});

story!(an_instance_that_stops_by_itself_is_started_again, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.provider.stop_behind(&s.instance(1));
    s.until_instance(1, "running", 1).await;
    s.settle().await;
    let starts = s.provider.calls().iter().filter(|call| call.kind == "start").count();
    assert_eq!(starts, 1);
});

story!(an_instance_that_was_deleted_is_told_and_can_be_replaced, s, {
    s.deploy("db", 2).await;
    s.settle().await;
    s.provider.vanish(&s.instance(1));
    s.until_instance(1, "missing", 0).await;
    s.expect_unit("db/0", "down", "active").await;
    let reasons = s.wait_fails(&[]).await;
    let problems = encanto::api::backend::Backend::problems(s.backend()).await;
    assert_eq!(problems, ["machine 1 has lost its container: `encanto destroy-machine 1 --force`"]);
    let words = "machine 1 is down: its container is gone: encanto destroy-machine 1 --force";
    assert!(reasons.iter().any(|reason| reason.starts_with(words)), "{reasons:?}");
    s.destroy_machine("1", true).await;
    s.add_unit("db").await;
    s.settle().await;
    assert_eq!(s.wait_fails(&[]).await, [""; 0]);
    assert_eq!(s.machine_numbers(), [2, 3]);
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

story!(a_machine_that_is_started_has_nothing_left_of_its_creation, s, {
    s.deploy("db", 3).await;
    let mut changes = s.ledger().changes();
    // Every state that anybody could have seen on the way.
    for machine in [1, 2, 3] {
        while !s.machine_is_started(machine).await {
            changes.changed().await.unwrap();
        }
    }
    s.settle().await;
});

story!(a_full_disk_refuses_the_command_and_changes_nothing, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let before = s.model();
    s.journal.fail_after(Some(0));
    let refused = s.try_deploy("app", "app", 1).await.unwrap_err();
    assert_eq!(refused.error, "the change was not made: database or disk is full");
    assert_eq!(s.model(), before);
    s.journal.fail_after(None);
    s.deploy("app", 1).await;
});

story!(bad_input_is_refused_with_a_hint_and_changes_nothing, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let before = s.journal.entries().len();
    let refusal = |refused: Result<encanto::api::Done, encanto::api::Refusal>| {
        let refused = refused.unwrap_err();
        (refused.error, refused.hints.join("; "))
    };
    let add = encanto::api::AddUnit { service: "dbx".into(), units: 1, to: None };
    assert_eq!(refusal(s.ask(add).await), ("service \"dbx\" not found".into(), "did you mean `db`?".into()));
    let set = |key: &str, value: &str| encanto::api::SetConfig {
        service: "db".into(),
        values: [(key.to_owned(), value.into())].into_iter().collect(),
    };
    assert_eq!(refusal(s.ask(set("sise", "1")).await).1, "did you mean `size`?");
    assert_eq!(refusal(s.ask(set("size", "big")).await).0, "option \"size\" expected int, got \"big\"");
    assert_eq!(refusal(s.ask(set("size", "0")).await).0, "option \"size\" must be at least 1, got 0");
    let twice = s.try_deploy("db", "db", 1).await;
    assert_eq!(refusal(twice).0, "cannot add service \"db\": service already exists");
    let unit = encanto::api::AddUnit { service: "db".into(), units: 1, to: Some("7".into()) };
    assert_eq!(refusal(s.ask(unit).await).0, "machine 7 not found");
    let unit = encanto::api::AddUnit { service: "db".into(), units: 2, to: Some("1".into()) };
    assert_eq!(refusal(s.ask(unit).await).0, "cannot use --num-units > 1 with --to");
    assert_eq!(s.journal.entries().len(), before);
});

story!(resolved_counts_a_hook_as_run_and_retry_runs_it_again, s, {
    s.fail_hook("db/0", "config-changed");
    s.deploy("db", 1).await;
    s.settle().await;
    s.expect_unit("db/0", "error", "error").await;
    let resolved = |retry| encanto::api::Resolved { unit: "db/0".into(), retry };
    s.ask(resolved(true)).await.unwrap();
    s.settle().await;
    s.expect_unit("db/0", "error", "error").await;
    s.ask(resolved(false)).await.unwrap();
    s.settle().await;
    s.expect_unit("db/0", "started", "active").await;
    let hooks = s.hooks_of("db/0");
    assert_eq!(hooks, ["install", "cluster-relation-created", "config-changed (skipped)", "start"]);
    let refused = s.ask(resolved(true)).await.unwrap_err();
    assert_eq!(refused.error, "unit \"db/0\" is not in an error state");
    s.fail_hook("db/0", "db-relation-joined");
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    s.heal_hook("db/0", "db-relation-joined");
    s.ask(resolved(true)).await.unwrap();
    s.settle().await;
    s.expect_unit("app/0", "started", "active").await;
});

story!(a_failed_hook_is_run_again_by_itself_ever_more_seldom, s, {
    s.kill_controller().await;
    s.retry_hooks = Some(20);
    s.start_controller().await;
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    let db = "db/0".parse().unwrap();
    s.until("the third failure", |model| model.units.get(&db).is_some_and(|unit| unit.failures >= 3)).await;
    let failed: Vec<i64> = s
        .journal
        .entries()
        .iter()
        .filter(|entry| matches!(entry.event, encanto::model::Event::HookFailed { .. }))
        .map(|entry| entry.at)
        .collect();
    assert!(failed[1] - failed[0] >= 20 && failed[2] - failed[1] >= 40, "{failed:?}");
    s.heal_hook("db/0", "start");
    s.until("the unit is up", |model| model.units[&db].started).await;
    assert_eq!(s.model().units[&db].failures, 0);
});

story!(a_machine_that_could_not_be_made_is_tried_again, s, {
    s.provider.fail_next("create", "lxc-start: no space left on device");
    s.deploy("db", 1).await;
    s.settle().await;
    let retry = |machine: &str| encanto::api::RetryProvisioning { machines: vec![machine.into()] };
    assert_eq!(s.ask(retry("0")).await.unwrap_err().error, "machine 0 is not in an error state");
    s.ask(retry("1")).await.unwrap();
    s.settle().await;
    s.expect_unit("db/0", "started", "active").await;
});

story!(a_destroyed_relation_is_broken_on_both_sides_and_can_be_made_again, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    let destroy = |one: &str, other: &str| encanto::api::DestroyRelation { endpoints: vec![one.into(), other.into()] };
    assert_eq!(
        s.ask(destroy("db:cluster", "db")).await.unwrap_err().error,
        "cannot destroy relation \"db:cluster\": is a peer relation"
    );
    s.ask(destroy("db", "app")).await.unwrap();
    s.settle().await;
    s.expect_unit("app/0", "started", "waiting").await;
    for (unit, remote) in [("app/0", "db/0"), ("db/0", "app/0")] {
        let hooks = s.hooks_of(unit);
        assert_eq!(hooks[hooks.len() - 2..], [format!("db-relation-departed {remote}"), "db-relation-broken".into()]);
    }
    assert_eq!(s.ask(destroy("db", "app")).await.unwrap_err().error, "relation \"db app\" not found");
    s.relate("db", "app").await;
    s.settle().await;
    s.expect_unit("app/0", "started", "active").await;
});

story!(unset_gives_back_the_default, s, {
    s.deploy("db", 1).await;
    s.set("db", "size", "9").await;
    s.settle().await;
    let unset = |key: &str| encanto::api::UnsetConfig { service: "db".into(), keys: vec![key.into()] };
    s.ask(unset("size")).await.unwrap();
    s.settle().await;
    let config = s.ask(encanto::api::GetConfig { service: "db".into() }).await.unwrap();
    assert_eq!(config.settings["size"].value, Some(1.into()));
    assert_eq!(s.ask(unset("sise")).await.unwrap_err().hints, ["did you mean `size`?"]);
});

story!(history_and_status_log_tell_what_happened, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.heal_hook("db/0", "start");
    s.ask(encanto::api::Resolved { unit: "db/0".into(), retry: true }).await.unwrap();
    s.settle().await;
    let log = s.ask(encanto::api::StatusLog { entity: "db/0".into(), lines: 50 }).await.unwrap();
    let states: Vec<String> = log.entries.iter().map(|e| format!("{} {}", e.kind, e.state)).collect();
    assert_eq!(
        states,
        [
            "agent allocated",
            "agent executed",
            "agent executed",
            "agent executed",
            "agent error",
            "agent retrying",
            "workload active",
            "agent executed"
        ]
    );
    assert!(log.entries[4].message.starts_with("start: charm.lua:"), "{:?}", log.entries[4]);
    let history = s.ask(encanto::api::History { lines: 50, ..Default::default() }).await.unwrap();
    let last = history.entries.last().unwrap();
    assert_eq!(last.effects, ["unit db/0: hook tried again"]);
    assert!(history.entries.iter().any(|e| e.effects.contains(&"unit db/0 added on machine 1".to_owned())));
});

story!(an_upgraded_charm_runs_its_hook_and_keeps_what_fits, s, {
    s.deploy("db", 2).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.set("db", "size", "9").await;
    s.settle().await;
    assert_eq!(
        s.upgrade("db", "db", false).await.unwrap_err().error,
        "already running latest charm \"local:bookworm/db-0\""
    );
    let broken = s.upgrade("db", "db-broken", false).await.unwrap_err();
    assert!(
        broken.error.starts_with("cannot upgrade service \"db\" to charm \"db\": would break relation"),
        "{broken:?}"
    );
    assert_eq!(
        s.upgrade("db", "app", false).await.unwrap_err().error,
        "cannot upgrade service \"db\" to charm \"app\": the service runs charm \"db\""
    );
    s.upgrade("db", "db-next", false).await.unwrap();
    s.settle().await;
    let hooks = s.hooks_of("db/1");
    let upgraded = hooks.iter().position(|hook| hook == "upgrade-charm").unwrap();
    assert!(hooks[upgraded..].contains(&"config-changed".to_owned()), "{hooks:?}");
    assert!(hooks[upgraded..].contains(&"backup-relation-joined db/0".to_owned()), "a new peer relation: {hooks:?}");
    let status = s.status().await;
    assert_eq!(status.services["db"].charm, "local:bookworm/db-1");
    assert_eq!(status.services["db"].units["db/0"].workload_status.message, "next red");
    let config = s.ask(encanto::api::GetConfig { service: "db".into() }).await.unwrap();
    assert_eq!(config.settings["size"].value, Some(1.into()), "9 is more than the new charm takes");
    assert_eq!(s.model().charms.len(), 2, "the old charm is forgotten");
});

story!(a_forced_upgrade_takes_a_unit_out_of_its_error, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.heal_hook("db/0", "start");
    s.upgrade("db", "db-next", true).await.unwrap();
    s.settle().await;
    s.expect_unit("db/0", "started", "active").await;
    let hooks = s.hooks_of("db/0");
    assert_eq!(hooks[hooks.len() - 4..], ["upgrade-charm", "backup-relation-created", "config-changed", "start"]);
});

story!(an_upgrade_waits_for_a_unit_in_error, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.heal_hook("db/0", "start");
    s.upgrade("db", "db-next", false).await.unwrap();
    s.settle().await;
    s.expect_unit("db/0", "error", "error").await;
    s.ask(encanto::api::Resolved { unit: "db/0".into(), retry: true }).await.unwrap();
    s.settle().await;
    s.expect_unit("db/0", "started", "active").await;
});

story!(the_first_unit_leads_and_its_successor_is_told, s, {
    s.deploy("pulse", 2).await;
    s.settle().await;
    assert_eq!(s.hooks_of("pulse/0")[..3], ["install", "leader-elected", "config-changed"]);
    assert!(!s.hooks_of("pulse/1").contains(&"leader-elected".to_owned()));
    let units = s.status().await.services["pulse"].units.clone();
    let messages: Vec<&str> = units.values().map(|unit| unit.workload_status.message.as_str()).collect();
    assert_eq!(messages, ["leads", "follows"]);
    s.destroy_unit("pulse/0", false).await;
    s.settle().await;
    assert_eq!(s.hooks_of("pulse/1").last().map(String::as_str), Some("leader-elected"));
    s.add_unit("pulse").await;
    s.settle().await;
    assert!(!s.hooks_of("pulse/2").contains(&"leader-elected".to_owned()), "one leads at a time");
});

story!(update_status_runs_from_time_to_time_and_leaves_no_trace, s, {
    s.kill_controller().await;
    s.update_status = Some(std::time::Duration::from_millis(20));
    s.start_controller().await;
    s.deploy("pulse", 1).await;
    let ran = |s: &Scenario| s.provider.calls().iter().filter(|call| call.kind == "exec").count();
    wait_for(|| ran(&s) >= 8).await;
    // The first of them opened a port; all others wrote nothing.
    let hooks = s.hooks_of("pulse/0");
    assert_eq!(hooks.iter().filter(|hook| *hook == "update-status").count(), 1, "{hooks:?}");
    assert_eq!(s.status().await.services["pulse"].units["pulse/0"].open_ports, ["1234/tcp"]);
    s.destroy_unit("pulse/0", false).await;
    s.until("the unit is gone", |model| model.units.is_empty()).await;
});

/// For what the provider is told, which no commit announces.
async fn wait_for(holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "it never came");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

fn letter(number: u64) -> char {
    char::from(b'a' + number as u8)
}
