//! A controller that is killed goes on where it was.

use encanto::plan::settled::Condition;

use super::wait_for;
use crate::support::scenario::{Scenario, story};

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
    s.expect_status("app/0", "started", "active").await;
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
            s.expect_status(&unit, "started", "active").await;
            let hooks = s.hooks_of(&unit);
            assert_eq!(hooks.iter().filter(|hook| *hook == "install").count(), 1, "{hooks:?}");
            let joined: Vec<&String> = hooks.iter().filter(|hook| hook.contains("-joined")).collect();
            let once: std::collections::BTreeSet<&&String> = joined.iter().collect();
            assert_eq!(joined.len(), once.len(), "{hooks:?}");
        }
    }
});

/// Kills the controller while `hook` of `unit` runs, and starts the next one.
async fn cut_off(s: &mut Scenario, unit: &str, hook: &str) {
    s.until_runs(unit, hook).await;
    s.kill_controller().await;
    s.release_hook(unit, hook);
    s.start_controller().await;
}

/// How often it began on the machine, and how often it was committed.
fn count(s: &Scenario, unit: &str, hook: &str) -> (usize, usize) {
    let committed = s.hooks_of(unit).iter().filter(|ran| ran.split(' ').next() == Some(hook)).count();
    (s.begun_of(unit).iter().filter(|ran| *ran == hook).count(), committed)
}

story!(an_install_that_was_cut_off_is_run_again, s, {
    s.hang_hook("db/0", "install");
    s.deploy("db", 1).await;
    cut_off(&mut s, "db/0", "install").await;
    s.wait_active().await;
    assert_eq!(count(&s, "db/0", "install"), (2, 1));
    s.expect_hooks("db/0", &["install", "cluster-relation-created", "config-changed", "start"]);
});

story!(a_controller_killed_between_joined_and_changed_goes_on_with_changed, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.wait_fails(&[], Condition::Started).await;
    s.hang_hook("app/0", "db-relation-changed");
    s.relate("app", "db").await;
    cut_off(&mut s, "app/0", "db-relation-changed").await;
    s.wait_active().await;
    assert_eq!(count(&s, "app/0", "db-relation-joined"), (1, 1));
    assert!(s.begun_of("app/0").iter().filter(|hook| *hook == "db-relation-changed").count() >= 2);
    let hooks = s.hooks_of("app/0");
    let joined = hooks.iter().position(|hook| hook == "db-relation-joined db/0").unwrap();
    assert_eq!(hooks[joined + 1], "db-relation-changed db/0");
});

story!(a_joined_hook_that_was_cut_off_is_run_again_and_joins_once, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.wait_fails(&[], Condition::Started).await;
    s.hang_hook("app/0", "db-relation-joined");
    s.relate("app", "db").await;
    cut_off(&mut s, "app/0", "db-relation-joined").await;
    s.wait_active().await;
    assert_eq!(count(&s, "app/0", "db-relation-joined"), (2, 1));
});

story!(an_error_outlives_the_controller_and_can_be_resolved_later, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    let before = s.info_of("db/0").await;
    s.kill_controller().await;
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.info_of("db/0").await, before);
    s.resolve("db/0").await;
    s.settle().await;
    s.expect_last_hooks("db/0", &["config-changed", "start (skipped)"]);
    s.expect_status("db/0", "started", "unknown").await;
});

story!(the_next_controller_runs_a_failed_hook_again_by_itself, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.kill_controller().await;
    s.heal_hook("db/0", "start");
    s.retry_hooks = Some(20);
    s.start_controller().await;
    s.until("it has started", |model| model.units[&"db/0".parse().unwrap()].started).await;
    s.wait_active().await;
});

story!(a_retry_that_was_cut_off_comes_first_again, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.set("db", "size", "2").await;
    s.hang_hook("db/0", "start");
    s.mend("db/0", "start").await;
    cut_off(&mut s, "db/0", "start").await;
    s.settle().await;
    s.expect_last_hooks("db/0", &["start", "config-changed"]);
    assert_eq!(count(&s, "db/0", "start"), (3, 1));
});

story!(an_upgrade_that_was_cut_off_is_run_again, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.hang_hook("db/0", "upgrade-charm");
    s.upgrade("db", "db-next", false).await.unwrap();
    cut_off(&mut s, "db/0", "upgrade-charm").await;
    s.wait_active().await;
    assert_eq!(count(&s, "db/0", "upgrade-charm"), (2, 1));
    s.expect_last_hooks("db/0", &["upgrade-charm", "backup-relation-created", "config-changed"]);
});

story!(a_removal_that_was_cut_off_goes_on, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.hang_hook("app/0", "db-relation-departed");
    s.destroy_service("app", false).await;
    cut_off(&mut s, "app/0", "db-relation-departed").await;
    s.settle().await;
    assert_eq!(count(&s, "app/0", "db-relation-departed"), (2, 1));
    s.expect_last_hooks("app/0", &["db-relation-departed db/0", "db-relation-broken", "stop"]);
    assert!(!s.model().services.contains_key(&"app".parse().unwrap()));
});

story!(machines_that_were_being_made_or_destroyed_are_so_by_the_next_controller, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.provider.hold("create");
    s.provider.hold("destroy");
    s.deploy("app", 1).await;
    s.destroy_machine("1", true).await;
    let asked = |s: &Scenario, kind: &str| s.provider.calls().iter().any(|call| call.kind == kind);
    wait_for(|| asked(&s, "destroy") && s.provider.calls().iter().filter(|call| call.kind == "create").count() == 2)
        .await;
    s.kill_controller().await;
    s.provider.let_go("create");
    s.provider.let_go("destroy");
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [2]);
    s.expect_status("app/0", "started", "waiting").await;
});

fn letter(number: u64) -> char {
    char::from(b'a' + number as u8)
}
