//! What a unit goes through from deploy on, and what commands do to it.

use crate::support::scenario::{Scenario, story};

use super::wait_for;

story!(a_unit_installs_configures_and_starts, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    assert_eq!(s.hooks_of("db/0"), ["install", "cluster-relation-created", "config-changed", "start"]);
    s.expect_status("db/0", "started", "active").await;
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

story!(what_a_charm_prepares_is_made_once_and_shared, s, {
    s.deploy("prepared", 3).await;
    s.settle().await;
    s.expect_status("prepared/2", "started", "active").await;
    let status = s.status().await;
    assert_eq!(status.services["prepared"].units["prepared/2"].workload_status.message, "1");
    let seals = s.provider.calls().iter().filter(|call| call.kind == "seal").count();
    assert_eq!(seals, 1);
    assert!(!s.hooks().iter().any(|hook| hook.ends_with(" prepare")), "{:?}", s.hooks());
});

story!(a_used_machine_is_prepared_in_place, s, {
    s.ask(encanto::api::AddMachine { count: 1, series: None, constraints: None, placement: None, name: None })
        .await
        .unwrap();
    s.settle().await;
    s.deploy("prepared", 1).await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [1], "a clean and empty machine is taken");
    assert_eq!(s.hooks_of("prepared/0")[..2], ["prepare", "install"]);
    s.expect_status("prepared/0", "started", "active").await;
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
