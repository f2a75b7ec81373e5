//! Charms that are replaced while they run.

use crate::support::scenario::story;

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
    s.expect_status("db/0", "started", "active").await;
    let hooks = s.hooks_of("db/0");
    assert_eq!(hooks[hooks.len() - 4..], ["upgrade-charm", "backup-relation-created", "config-changed", "start"]);
});

story!(force_can_come_after_the_upgrade_too, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.heal_hook("db/0", "start");
    s.upgrade("db", "db-next", false).await.unwrap();
    s.settle().await;
    s.expect_status("db/0", "error", "error").await;
    s.upgrade("db", "db-next", true).await.unwrap();
    s.settle().await;
    s.expect_status("db/0", "started", "active").await;
    // There is nothing left that it could do.
    let refused = s.upgrade("db", "db-next", true).await.unwrap_err();
    assert_eq!(refused.error, "already running latest charm \"local:bookworm/db-1\"");
});

story!(an_upgrade_waits_for_a_unit_in_error, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.heal_hook("db/0", "start");
    s.upgrade("db", "db-next", false).await.unwrap();
    s.settle().await;
    s.expect_status("db/0", "error", "error").await;
    s.ask(encanto::api::Resolved { unit: "db/0".into(), retry: true }).await.unwrap();
    s.settle().await;
    s.expect_status("db/0", "started", "active").await;
});

story!(a_charm_replaced_before_it_was_installed_is_only_installed, s, {
    s.fail_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.settle().await;
    s.upgrade("db", "db-next", false).await.unwrap();
    s.mend("db/0", "install").await;
    s.wait_active().await;
    assert!(!s.hooks_of("db/0").contains(&"upgrade-charm".to_owned()), "{:?}", s.hooks_of("db/0"));
    assert_eq!(s.status().await.services["db"].units["db/0"].workload_status.message, "next red");
});

story!(a_failed_upgrade_hook_is_resolved_and_config_follows, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.fail_hook("db/0", "upgrade-charm");
    s.upgrade("db", "db-next", false).await.unwrap();
    s.settle().await;
    s.expect_status("db/0", "error", "error").await;
    assert!(s.info_of("db/0").await.starts_with("hook failed: \"upgrade-charm\""));
    s.resolve("db/0").await;
    s.wait_active().await;
    s.expect_last_hooks("db/0", &["upgrade-charm (skipped)", "backup-relation-created", "config-changed"]);
});

story!(a_forced_upgrade_mends_a_relation_hook_of_the_old_charm, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.fail_hook("db/0", "db-relation-joined");
    s.relate("app", "db").await;
    s.settle().await;
    s.heal_hook("db/0", "db-relation-joined");
    s.upgrade("db", "db-next", true).await.unwrap();
    s.settle().await;
    let hooks = s.hooks_of("db/0");
    let upgraded = hooks.iter().position(|hook| hook == "upgrade-charm").unwrap();
    let joined = hooks.iter().position(|hook| hook == "db-relation-joined app/0").unwrap();
    assert!(upgraded < joined && hooks[joined + 1] == "db-relation-changed app/0", "{hooks:?}");
});

story!(an_upgrade_comes_after_the_hook_that_runs_and_before_all_others, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.hang_hook("db/0", "config-changed");
    s.set("db", "size", "2").await;
    s.until_runs("db/0", "config-changed").await;
    s.upgrade("db", "db-next", false).await.unwrap();
    s.set("db", "colour", "blue").await;
    let before = s.hooks_of("db/0").len();
    s.release_hook("db/0", "config-changed");
    s.wait_active().await;
    let order = ["config-changed", "upgrade-charm", "backup-relation-created", "config-changed"];
    assert_eq!(s.hooks_of("db/0")[before..], order);
    assert_eq!(s.status().await.services["db"].units["db/0"].workload_status.message, "next blue");
});
