//! A controller that is killed goes on where it was.

use crate::support::scenario::story;

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

fn letter(number: u64) -> char {
    char::from(b'a' + number as u8)
}
