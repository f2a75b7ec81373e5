//! Hooks of relations and peers: their order and their promises.

use std::time::Duration;

use encanto::plan::settled::{Condition, Target};

use crate::support::scenario::story;

story!(relations_before_or_after_give_the_same, s, {
    s.deploy("app", 1).await;
    s.deploy("db", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    s.expect_status("app/0", "started", "active").await;
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

story!(a_destroyed_relation_is_broken_on_both_sides_and_can_be_made_again, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    let destroy = |one: &str, other: &str| encanto::api::DestroyRelation {
        endpoints: vec![one.into(), other.into()],
        force: false,
    };
    assert_eq!(
        s.ask(destroy("db:cluster", "db")).await.unwrap_err().error,
        "cannot destroy relation \"db:cluster\": is a peer relation"
    );
    s.ask(destroy("db", "app")).await.unwrap();
    s.settle().await;
    s.expect_status("app/0", "started", "waiting").await;
    for (unit, remote) in [("app/0", "db/0"), ("db/0", "app/0")] {
        let hooks = s.hooks_of(unit);
        assert_eq!(hooks[hooks.len() - 2..], [format!("db-relation-departed {remote}"), "db-relation-broken".into()]);
    }
    assert_eq!(s.ask(destroy("db", "app")).await.unwrap_err().error, "relation \"db app\" not found");
    s.relate("db", "app").await;
    s.settle().await;
    s.expect_status("app/0", "started", "active").await;
});

story!(each_joined_is_followed_at_once_by_its_changed, s, {
    s.deploy("db", 3).await;
    s.deploy("app", 1).await;
    s.wait_fails(&[], Condition::Started).await;
    let before = s.hooks_of("app/0").len();
    s.relate("app", "db").await;
    s.wait_active().await;
    let hooks = s.hooks_of("app/0");
    let joined: Vec<usize> = (before..hooks.len()).filter(|at| hooks[*at].contains("-joined")).collect();
    assert_eq!(joined.len(), 3, "{hooks:?}");
    for at in joined {
        assert_eq!(hooks[at + 1], hooks[at].replace("joined", "changed"), "{hooks:?}");
    }
});

story!(departed_comes_for_each_unit_and_broken_last, s, {
    s.deploy("db", 2).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.destroy_relation("app", "db", false).await;
    s.settle().await;
    s.expect_last_hooks("app/0", &["db-relation-departed db/0", "db-relation-departed db/1", "db-relation-broken"]);
    assert!(s.model().relations.values().all(|relation| relation.is_peer()));
});

story!(changes_that_come_while_a_unit_is_in_error_are_told_once, s, {
    s.try_deploy("node", "upper", 1).await.unwrap();
    s.try_deploy("node", "lower", 1).await.unwrap();
    s.relate("lower:down", "upper:up").await;
    s.wait_active().await;
    s.fail_hook("lower/0", "config-changed");
    s.set("lower", "tune", "x").await;
    s.settle().await;
    let before = s.hooks_of("lower/0").len();
    for colour in ["green", "blue", "white"] {
        s.set("upper", "colour", colour).await;
        s.settle().await;
    }
    s.mend("lower/0", "config-changed").await;
    s.settle().await;
    assert_eq!(s.hooks_of("lower/0")[before..], ["config-changed", "down-relation-changed upper/0"]);
});

story!(a_units_own_writes_are_told_to_the_others_only, s, {
    s.try_deploy("node", "upper", 2).await.unwrap();
    s.try_deploy("node", "lower", 1).await.unwrap();
    s.relate("lower:down", "upper:up").await;
    s.wait_active().await;
    let before = s.hooks_of("lower/0").len();
    s.set("lower", "colour", "green").await;
    s.settle().await;
    assert_eq!(s.hooks_of("lower/0")[before..], ["config-changed"]);
    for unit in ["upper/0", "upper/1"] {
        s.expect_last_hooks(unit, &["up-relation-changed lower/0"]);
    }
});

story!(peers_are_told_by_each_other_and_not_by_themselves, s, {
    s.deploy("node", 3).await;
    s.wait_active().await;
    for (unit, others) in [(0, [1, 2]), (1, [0, 2]), (2, [0, 1])] {
        let hooks = s.hooks_of(&format!("node/{unit}"));
        let joined: std::collections::BTreeSet<String> =
            hooks.iter().filter_map(|hook| hook.strip_prefix("ring-relation-joined node/")).map(String::from).collect();
        assert_eq!(joined, others.map(|other| other.to_string()).into(), "{hooks:?}");
        assert!(!hooks.contains(&format!("ring-relation-changed node/{unit}")));
    }
});

story!(a_later_unit_is_joined_by_everyone, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 2).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.add_unit("db").await;
    s.wait_active().await;
    for unit in ["app/0", "app/1"] {
        let hooks = s.hooks_of(unit);
        let joined = hooks.iter().position(|hook| hook == "db-relation-joined db/1").unwrap();
        assert_eq!(hooks[joined + 1], "db-relation-changed db/1");
        assert_eq!(hooks.iter().filter(|hook| *hook == "db-relation-created").count(), 1, "{hooks:?}");
    }
});

story!(a_relation_that_nobody_has_entered_goes_at_once, s, {
    s.provider.hold("create");
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.destroy_relation("app", "db", false).await;
    assert!(s.model().relations.values().all(|relation| relation.is_peer()));
    s.provider.let_go("create");
    s.settle().await;
    assert!(!s.hooks().iter().any(|hook| hook.contains(" db-")), "{:?}", s.hooks());
});

story!(a_unit_that_vanishes_right_after_it_joined_departs_without_changed, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.wait_fails(&[], Condition::Started).await;
    s.hang_hook("app/0", "db-relation-joined");
    s.relate("app", "db").await;
    s.until_runs("app/0", "db-relation-joined").await;
    s.destroy_unit("db/0", true).await;
    s.release_hook("app/0", "db-relation-joined");
    s.settle().await;
    s.expect_last_hooks("app/0", &["db-relation-joined db/0", "db-relation-departed db/0"]);
});

story!(a_relation_can_be_made_anew_while_the_old_one_still_ends, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.wait_active().await;
    s.hang_hook("app/0", "db-relation-broken");
    s.destroy_relation("app", "db", false).await;
    s.until_runs("app/0", "db-relation-broken").await;
    s.relate("app", "db").await;
    assert_eq!(s.model().relations.values().filter(|relation| !relation.is_peer()).count(), 2);
    s.destroy_relation("app", "db", false).await;
    s.relate("app", "db").await;
    s.release_hook("app/0", "db-relation-broken");
    s.wait_active().await;
    assert_eq!(s.model().relations.values().filter(|relation| !relation.is_peer()).count(), 1);
});

story!(one_unit_serves_two_services_and_loses_one, s, {
    s.deploy("db", 1).await;
    s.try_deploy("app", "blog", 1).await.unwrap();
    s.try_deploy("app", "shop", 1).await.unwrap();
    s.relate("blog", "db").await;
    s.relate("shop", "db").await;
    s.wait_active().await;
    s.destroy_service("blog", false).await;
    s.settle().await;
    s.expect_last_hooks("db/0", &["db-relation-departed blog/0", "db-relation-broken"]);
    s.expect_status("shop/0", "started", "active").await;
    assert!(!s.hooks_of("shop/0").iter().any(|hook| hook.contains("broken")));
});

story!(who_waits_for_a_unit_waits_for_those_that_it_waits_for, s, {
    s.deploy("app", 1).await;
    let app = [Target::Unit("app/0".parse().unwrap())];
    assert_eq!(s.wait_fails(&app, Condition::Settled).await, [""; 0], "nobody is at work for it");
    s.hang_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.relate("app", "db").await;
    s.until_runs("db/0", "install").await;
    let reasons = s.wait_at_most(&app, Condition::Settled, Duration::from_secs(10)).await;
    assert_eq!(reasons, ["app/0 is waiting: no database"]);
    s.release_hook("db/0", "install");
    assert_eq!(s.wait_fails(&app, Condition::Settled).await, [""; 0]);
    s.expect_status("app/0", "started", "active").await;
});
