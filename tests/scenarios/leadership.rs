//! Who speaks for a service, and what it tells the others.

use crate::support::scenario::{Scenario, story};

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

story!(followers_are_told_before_they_start_and_whenever_the_leader_has_written, s, {
    s.deploy("node", 2).await;
    s.wait_active().await;
    assert_eq!(s.hooks_of("node/0")[..4], ["install", "ring-relation-created", "leader-elected", "config-changed"]);
    assert_eq!(
        s.hooks_of("node/1")[..5],
        ["install", "ring-relation-created", "leader-settings-changed", "config-changed", "start"]
    );
    let told = |s: &Scenario, unit: &str| {
        let all = s.hooks_of(unit);
        all.iter().filter(|hook| *hook == "leader-settings-changed").count()
    };
    let before = told(&s, "node/1");
    s.set("node", "tune", "waltz-in-a-minor").await;
    s.settle().await;
    assert_eq!((told(&s, "node/0"), told(&s, "node/1")), (0, before + 1));
    // The option is a secret, and so is what is made of it.
    let leads = &s.model().services[&"node".parse().unwrap()];
    assert_eq!(format!("{:?}", leads.leader_settings), "{\"tune\": (secret)}");
    s.set("node", "colour", "blue").await;
    s.settle().await;
    assert_eq!(told(&s, "node/1"), before + 1, "what was written is what was there");
});

story!(writes_of_the_leader_that_come_while_a_follower_is_busy_are_told_once, s, {
    s.deploy("node", 2).await;
    s.wait_active().await;
    let before = s.hooks_of("node/1").len();
    s.hang_hook("node/1", "config-changed");
    for tune in ["one", "two", "three"] {
        s.set("node", "tune", tune).await;
        let done = |model: &encanto::model::Model| {
            let service = &model.services[&"node".parse().unwrap()];
            service.leader_settings.get("tune").is_some_and(|setting| setting.value == tune)
        };
        s.until("the leader has written", done).await;
    }
    s.until_runs("node/1", "config-changed").await;
    s.release_hook("node/1", "config-changed");
    s.settle().await;
    let since: Vec<String> = s.hooks_of("node/1")[before..].to_vec();
    let told = since.iter().filter(|hook| *hook == "leader-settings-changed").count();
    assert!(told <= 2, "once for the first, once for all that came meanwhile: {since:?}");
    assert_eq!(s.model().units[&"node/1".parse().unwrap()].leader_seen, Some(3));
});

story!(only_the_leader_may_write_and_status_says_who_leads, s, {
    s.deploy("usurper", 2).await;
    s.settle().await;
    s.expect_status("usurper/0", "started", "active").await;
    s.expect_status("usurper/1", "error", "error").await;
    let info = s.info_of("usurper/1").await;
    assert!(info.contains("cannot write leader settings: usurper/0 leads usurper"), "{info}");
    let units = s.status().await.services["usurper"].units.clone();
    assert_eq!((units["usurper/0"].leader, units["usurper/1"].leader), (true, false));
    s.destroy_unit("usurper/0", false).await;
    s.ask(encanto::api::Resolved { unit: "usurper/1".into(), retry: true }).await.unwrap();
    s.wait_active().await;
    assert!(s.status().await.services["usurper"].units["usurper/1"].leader);
});

story!(a_leader_that_is_destroyed_while_it_writes_writes_nothing, s, {
    s.deploy("node", 2).await;
    s.wait_active().await;
    s.hang_hook("node/0", "config-changed");
    s.set("node", "tune", "march").await;
    s.until_runs("node/0", "config-changed").await;
    s.destroy_unit("node/0", false).await;
    s.release_hook("node/0", "config-changed");
    s.until("node/0 is gone", |model| !model.units.contains_key(&"node/0".parse().unwrap())).await;
    s.settle().await;
    assert!(s.hooks_of("node/0").contains(&"config-changed (skipped)".to_owned()), "{:?}", s.hooks_of("node/0"));
    assert!(s.hooks_of("node/1").contains(&"leader-elected".to_owned()));
});

story!(a_new_charm_is_not_told_what_its_predecessor_did_not_ask_for, s, {
    s.deploy("db", 2).await;
    s.wait_active().await;
    s.upgrade("db", "db-led", false).await.unwrap();
    s.settle().await;
    assert!(!s.hooks_of("db/1").contains(&"leader-settings-changed".to_owned()), "{:?}", s.hooks_of("db/1"));
    s.set("db", "size", "4").await;
    s.settle().await;
    let told = s.hooks_of("db/1").iter().filter(|hook| *hook == "leader-settings-changed").count();
    assert_eq!(told, 1, "what is written from now on");
});

story!(followers_at_rest_are_told_what_the_leader_writes_in_a_hook_of_its_own, s, {
    s.try_deploy("node", "upper", 2).await.unwrap();
    s.try_deploy("node", "lower", 1).await.unwrap();
    s.wait_active().await;
    s.hang_hook("upper/0", "up-relation-joined");
    s.relate("lower:down", "upper:up").await;
    s.until_runs("upper/0", "up-relation-joined").await;
    let (follower, lower) = ("upper/1".parse().unwrap(), "lower/0".parse().unwrap());
    s.until("the follower has met it and rests", |model| {
        let met = model.units[&follower].scopes.values().any(|scope| scope.seen.contains_key(&lower));
        met && encanto::plan::hooks::next(model, &follower).is_none()
    })
    .await;
    s.release_hook("upper/0", "up-relation-joined");
    s.settle().await;
    s.expect_last_hooks("upper/1", &["leader-settings-changed"]);
});
