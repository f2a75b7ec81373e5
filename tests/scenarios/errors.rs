//! What fails is told, can be mended, and holds up nothing else.

use encanto::api::backend::Backend;
use encanto::plan::settled::Condition;

use crate::support::scenario::story;

story!(a_failed_hook_is_told_and_commits_nothing, s, {
    s.fail_hook("db/0", "db-relation-joined");
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    s.expect_status("db/0", "error", "error").await;
    s.expect_status("app/0", "started", "waiting").await;
    let status = s.status().await;
    let info = status.services["db"].units["db/0"].agent_state_info.clone().unwrap();
    assert!(info.starts_with("hook failed: \"db-relation-joined\": charm.lua:"), "{info}");
    assert!(info.contains("E: no room left"), "{info}");
});

story!(a_failed_preparation_is_the_units_error, s, {
    s.fail_hook("build", "prepare");
    s.deploy("prepared", 1).await;
    s.settle().await;
    s.expect_status("prepared/0", "error", "error").await;
    let info = s.status().await.services["prepared"].units["prepared/0"].agent_state_info.clone().unwrap();
    assert!(info.starts_with("hook failed: \"prepare\"") && info.contains("no room left"), "{info}");
    s.destroy_unit("prepared/0", false).await;
    s.settle().await;
    assert!(s.model().units.is_empty());
    let leftovers = s.provider.calls().iter().filter(|call| call.kind == "destroy").count();
    assert!(leftovers >= 1, "the scratch instance is taken down");
});

story!(resolved_counts_a_hook_as_run_and_retry_runs_it_again, s, {
    s.fail_hook("db/0", "config-changed");
    s.deploy("db", 1).await;
    s.settle().await;
    s.expect_status("db/0", "error", "error").await;
    let resolved = |retry| encanto::api::Resolved { unit: "db/0".into(), retry };
    s.ask(resolved(true)).await.unwrap();
    s.settle().await;
    s.expect_status("db/0", "error", "error").await;
    s.ask(resolved(false)).await.unwrap();
    s.settle().await;
    s.expect_status("db/0", "started", "active").await;
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
    s.expect_status("app/0", "started", "active").await;
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
    s.expect_status("db/0", "started", "active").await;
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

story!(a_failed_install_is_run_again_before_anything_else, s, {
    s.fail_hook("node/0", "install");
    s.deploy("node", 1).await;
    s.settle().await;
    s.expect_status("node/0", "error", "error").await;
    s.ask(encanto::api::Resolved { unit: "node/0".into(), retry: true }).await.unwrap();
    s.settle().await;
    s.expect_hooks("node/0", &[]);
    s.mend("node/0", "install").await;
    s.wait_active().await;
    let order = ["install", "ring-relation-created", "leader-elected", "config-changed", "start"];
    s.expect_hooks("node/0", &order);
    assert_eq!(s.begun_of("node/0")[..3], ["install"; 3]);
});

story!(a_skipped_install_is_followed_by_the_rest, s, {
    s.fail_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.settle().await;
    s.resolve("db/0").await;
    s.wait_active().await;
    s.expect_hooks("db/0", &["install (skipped)", "cluster-relation-created", "config-changed", "start"]);
    assert_eq!(s.begun_of("db/0").iter().filter(|hook| *hook == "install").count(), 1);
});

story!(a_unit_in_error_hears_nothing_and_runs_what_failed_first, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.set("db", "size", "2").await;
    s.set("db", "size", "3").await;
    s.settle().await;
    assert_eq!(s.begun_of("db/0").last().map(String::as_str), Some("start"));
    s.mend("db/0", "start").await;
    s.settle().await;
    // As in Juju; both settings are seen by one hook.
    s.expect_hooks("db/0", &["install", "cluster-relation-created", "config-changed", "start", "config-changed"]);
});

story!(a_config_hook_that_failed_sees_the_newest_config_when_it_is_run_again, s, {
    s.deploy("node", 1).await;
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.fail_hook("node/0", "config-changed");
    s.set("node", "colour", "green").await;
    s.settle().await;
    s.expect_status("node/0", "error", "error").await;
    s.expect_status("db/0", "started", "active").await;
    s.set("node", "colour", "blue").await;
    let before = s.hooks_of("node/0").len();
    s.mend("node/0", "config-changed").await;
    s.settle().await;
    assert_eq!(s.hooks_of("node/0")[before..], ["config-changed"]);
});

story!(a_joined_hook_that_failed_is_followed_by_changed_once_it_succeeds, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.fail_hook("app/0", "db-relation-joined");
    s.relate("app", "db").await;
    s.settle().await;
    s.expect_status("app/0", "error", "error").await;
    s.set("db", "size", "2").await;
    s.settle().await;
    s.mend("app/0", "db-relation-joined").await;
    s.wait_active().await;
    s.expect_last_hooks("app/0", &["db-relation-joined db/0", "db-relation-changed db/0"]);
});

story!(a_skipped_joined_hook_is_followed_by_changed_too, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.fail_hook("app/0", "db-relation-joined");
    s.relate("app", "db").await;
    s.settle().await;
    s.resolve("app/0").await;
    s.wait_active().await;
    s.expect_last_hooks("app/0", &["db-relation-joined db/0 (skipped)", "db-relation-changed db/0"]);
});

story!(the_last_line_of_what_failed_is_in_status_and_all_of_it_in_the_log, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    let info = s.info_of("db/0").await;
    assert!(info.starts_with("hook failed: \"start\": charm.lua:"), "{info}");
    assert!(info.ends_with("E: no room left") && !info.contains("reading the list"), "{info}");
    let log = s.backend().log_after(0, &|line| line.entity == "unit-db-0");
    for told in ["reading the list", "E: no room left", "traceback:"] {
        assert!(log.iter().any(|line| line.message.contains(told)), "{told} is not in {log:#?}");
    }
});

story!(the_charms_own_words_are_in_status, s, {
    s.deploy("moody", 1).await;
    s.settle().await;
    let info = s.info_of("moody/0").await;
    assert!(info.starts_with("hook failed: \"start\": charm.lua:") && info.ends_with(": not today"), "{info}");
    assert_eq!(s.wait_fails(&[], Condition::Active).await, [format!("moody/0 is in error: {info}")]);
    let unit = &s.status().await.services["moody"].units["moody/0"];
    assert!(unit.open_ports.is_empty(), "what a failed hook wrote is dropped");
});

story!(what_is_being_tried_again_is_resolved_already, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.hang_hook("db/0", "start");
    s.mend("db/0", "start").await;
    s.until_runs("db/0", "start").await;
    for retry in [true, false] {
        let refused = s.ask(encanto::api::Resolved { unit: "db/0".into(), retry }).await.unwrap_err();
        assert_eq!(refused.error, "cannot set resolved mode for unit \"db/0\": already resolved");
    }
    s.release_hook("db/0", "start");
    s.wait_active().await;
});

story!(without_automatic_retry_a_failed_hook_waits_for_the_operator, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    // Its agent has looked again since, and again when it was nudged.
    s.set("db", "size", "2").await;
    s.kill_controller().await;
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.begun_of("db/0").iter().filter(|hook| *hook == "start").count(), 1);
    s.expect_status("db/0", "error", "error").await;
});

story!(a_hook_about_a_unit_that_has_gone_meanwhile_is_not_tried_again, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.fail_hook("app/0", "db-relation-changed");
    s.relate("app", "db").await;
    s.settle().await;
    s.expect_status("app/0", "error", "error").await;
    s.destroy_unit("db/0", true).await;
    s.mend("app/0", "db-relation-changed").await;
    s.settle().await;
    s.expect_last_hooks("app/0", &["db-relation-joined db/0", "db-relation-departed db/0"]);
});

story!(a_follower_that_leads_by_the_time_its_hook_is_tried_again_is_elected, s, {
    s.fail_hook("node/1", "leader-settings-changed");
    s.deploy("node", 2).await;
    s.settle().await;
    s.expect_status("node/1", "error", "error").await;
    s.destroy_unit("node/0", false).await;
    s.settle().await;
    s.mend("node/1", "leader-settings-changed").await;
    s.wait_active().await;
    s.expect_hooks("node/1", &["install", "ring-relation-created", "leader-elected", "config-changed", "start"]);
});

story!(who_waits_is_not_told_of_a_failure_that_mends_itself, s, {
    s.kill_controller().await;
    s.retry_hooks = Some(200);
    s.start_controller().await;
    s.fail_hook("db/0", "install");
    s.deploy("db", 1).await;
    let db = "db/0".parse().unwrap();
    s.until("the failure", |model| model.units.get(&db).is_some_and(|unit| unit.failed.is_some())).await;
    s.heal_hook("db/0", "install");
    s.wait_active().await;
    s.expect_status("db/0", "started", "active").await;
});

story!(who_waits_is_told_after_the_third_failure_in_a_row, s, {
    s.kill_controller().await;
    s.retry_hooks = Some(50);
    s.start_controller().await;
    s.fail_hook("db/0", "install");
    s.deploy("db", 1).await;
    let reasons = s.wait_fails(&[], Condition::Active).await;
    assert!(reasons[0].ends_with("no room left (failed 3 times, is tried again after 200ms)"), "{reasons:?}");
    assert_eq!(s.model().units[&"db/0".parse().unwrap()].failures, 3);
    s.heal_hook("db/0", "install");
    s.until("it is tried still", |model| model.units.values().all(|unit| unit.started)).await;
    s.settle().await;
});
