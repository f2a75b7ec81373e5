//! Several units on one machine.

use crate::support::scenario::story;

story!(units_on_one_machine_take_turns, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.deploy_to("app", "1").await;
    s.add_unit_to("db", "1").await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [1]);
    s.relate("app", "db").await;
    s.wait_active().await;
    s.hang_hook("app/0", "config-changed");
    s.upgrade("app", "app-next", false).await.unwrap();
    s.until_runs("app/0", "config-changed").await;
    let begun = s.begun().len();
    s.set("db", "size", "2").await;
    s.set("db", "size", "3").await;
    // Units elsewhere do not wait for this machine.
    s.try_deploy("db", "other", 1).await.unwrap();
    s.until("other/0 has started", |model| model.units.get(&"other/0".parse().unwrap()).is_some_and(|u| u.started))
        .await;
    let meanwhile = s.begun()[begun..].to_vec();
    assert!(!meanwhile.iter().any(|hook| hook.starts_with("db/")), "{meanwhile:?}");
    s.release_hook("app/0", "config-changed");
    s.wait_active().await;
    for unit in ["db/0", "db/1"] {
        assert_eq!(
            s.begun_of(unit).iter().filter(|hook| *hook == "config-changed").count(),
            2,
            "one for both settings"
        );
    }
});

story!(a_machine_stays_for_the_unit_that_is_left_on_it, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.deploy_to("app", "1").await;
    s.settle().await;
    s.destroy_service("db", false).await;
    s.settle().await;
    let destroy = encanto::api::DestroyMachine { machines: vec!["1".into()], force: false };
    let refused = s.ask(destroy).await.unwrap_err();
    assert_eq!(refused.error, "no machines were destroyed: machine 1 has unit \"app/0\" assigned");
    assert_eq!(s.begun_of("app/0").last().map(String::as_str), Some("start"), "it has not noticed");
    s.destroy_unit("app/0", false).await;
    s.settle().await;
    s.destroy_machine("1", false).await;
    s.settle().await;
    assert!(s.machine_numbers().is_empty());
});

story!(a_used_machine_is_not_given_to_another_unit_by_itself_but_may_be_named, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.destroy_unit("db/0", false).await;
    s.settle().await;
    s.add_unit("db").await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [1, 2]);
    s.add_unit_to("db", "1").await;
    s.wait_active().await;
    assert_eq!(s.model().units[&"db/2".parse().unwrap()].machine.to_string(), "1");
    let add = |to: &str| encanto::api::AddUnit { service: "db".into(), units: 1, to: Some(to.into()) };
    assert!(s.ask(add("0")).await.unwrap_err().error.starts_with("cannot assign unit \"db/3\" to machine 0"));
    assert_eq!(s.ask(add("9")).await.unwrap_err().error, "machine 9 not found");
});
