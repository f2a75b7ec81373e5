//! Subordinates: units that live beside others, come with them and go with them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use encanto::api::{self, EnvironmentStatus};
use encanto::model::UnitName;
use encanto::plan::settled::{Condition, Target};
use support::scenario::{Scenario, story};

/// `db/0: log/0` for each unit that has company, in order.
fn company(status: &EnvironmentStatus) -> Vec<String> {
    let units = status.services.values().flat_map(|service| &service.units);
    let with = units.filter(|(_, unit)| !unit.subordinates.is_empty());
    let names = |unit: &api::UnitStatus| unit.subordinates.keys().cloned().collect::<Vec<_>>().join(", ");
    with.map(|(name, unit)| format!("{name}: {}", names(unit))).collect()
}

async fn gone(s: &Scenario, unit: &str) {
    let name: UnitName = unit.parse().unwrap();
    s.until(&format!("{unit} is gone"), |model| !model.units.contains_key(&name)).await;
}

/// Two databases, and a subordinate that is beside both.
async fn accompanied(s: &Scenario) {
    s.deploy("db", 1).await;
    s.deploy("log", 1).await;
    s.relate("log:info", "db").await;
    s.settle().await;
    // After the first has its own: of two at once either may come first.
    s.add_unit("db").await;
    s.settle().await;
}

story!(a_subordinate_has_no_units_until_it_is_related_and_then_one_beside_each, s, {
    s.deploy("db", 2).await;
    s.deploy("log", 1).await;
    s.settle().await;
    assert!(s.status().await.services["log"].subordinate_to.is_empty());
    assert_eq!(s.model().units.len(), 2);
    s.relate("log", "db:juju-info").await;
    s.settle().await;
    assert_eq!(company(&s.status().await).len(), 2);
    assert_eq!(s.machine_numbers(), [1, 2], "they live on the machines that are there");
    s.add_unit("db").await;
    s.settle().await;
    assert_eq!(company(&s.status().await)[2..], ["db/2: log/2"]);
});

story!(a_subordinate_meets_its_own_principal_and_nobody_else, s, {
    accompanied(&s).await;
    let hooks = [
        "install",
        "info-relation-created",
        "config-changed",
        "start",
        "info-relation-joined db/1",
        "info-relation-changed db/1",
    ];
    assert_eq!(s.hooks_of("log/1"), hooks);
    let principal = s.hooks_of("db/1");
    let met: Vec<_> = principal.iter().filter(|hook| hook.starts_with("juju-info")).collect();
    assert_eq!(
        met,
        ["juju-info-relation-created", "juju-info-relation-joined log/1", "juju-info-relation-changed log/1"]
    );
    let status = s.status().await;
    let log = &status.services["db"].units["db/1"].subordinates["log/1"];
    assert_eq!(log.workload_status.message, "reads 1: db/1");
    assert_eq!((log.machine.as_deref(), status.services["log"].units.len()), (None, 0));
    assert_eq!(status.services["log"].subordinate_to, ["db"]);
    assert_eq!(status.services["db"].relations["juju-info"], ["log"]);
});

story!(what_a_charm_declares_comes_before_juju_info, s, {
    s.deploy("db", 1).await;
    s.deploy("log", 1).await;
    s.relate("log", "db").await;
    s.settle().await;
    let keys: Vec<String> = s.model().relations.values().map(|relation| relation.key()).collect();
    assert_eq!(keys, ["db:cluster", "log:directory db:db"]);
    // A second relation between the two brings no second unit, and the first may go.
    s.relate("log:info", "db").await;
    s.settle().await;
    s.destroy_relation("log:directory", "db:db", false).await;
    s.settle().await;
    assert_eq!(company(&s.status().await), ["db/0: log/0"]);
    assert!(!s.hooks_of("log/0").contains(&"stop".to_owned()));
});

story!(a_charm_may_have_hooks_for_juju_info, s, {
    s.deploy("watch", 1).await;
    s.deploy("log", 1).await;
    s.relate("watch:juju-info", "log").await;
    s.settle().await;
    assert_eq!(s.status().await.services["watch"].units["watch/0"].workload_status.message, "read by 1");
});

story!(a_subordinate_serves_others_than_its_principal_too, s, {
    accompanied(&s).await;
    s.deploy("watch", 1).await;
    s.relate("watch", "log").await;
    s.settle().await;
    let hooks = s.hooks_of("watch/0");
    assert!(["log/0", "log/1"].iter().all(|log| hooks.contains(&format!("feed-relation-joined {log}"))), "{hooks:?}");
    s.destroy_unit("db/0", false).await;
    s.settle().await;
    assert_eq!(s.hooks_of("watch/0").last().map(String::as_str), Some("feed-relation-departed log/0"));
});

story!(a_principal_goes_after_its_subordinates, s, {
    accompanied(&s).await;
    s.hang_hook("log/0", "stop");
    s.destroy_unit("db/0", false).await;
    s.until_runs("log/0", "stop").await;
    assert!(s.model().units.contains_key(&"db/0".parse().unwrap()));
    s.kill_controller().await;
    s.release_hook("log/0", "stop");
    s.start_controller().await;
    gone(&s, "db/0").await;
    s.settle().await;
    assert_eq!(s.hooks_of("log/0")[6..], ["info-relation-departed db/0", "info-relation-broken", "stop"]);
    assert_eq!(company(&s.status().await), ["db/1: log/1"]);
    let order: Vec<String> = s
        .journal
        .entries()
        .into_iter()
        .filter_map(|entry| match entry.event {
            encanto::model::Event::UnitRemoved { unit, .. } => Some(unit.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["log/0", "db/0"]);
});

story!(the_last_relation_takes_the_subordinates_along, s, {
    accompanied(&s).await;
    s.destroy_relation("log", "db", false).await;
    s.settle().await;
    assert!(company(&s.status().await).is_empty());
    assert_eq!(s.model().units.len(), 2, "the principals stay");
    s.relate("log:info", "db").await;
    s.settle().await;
    let company = company(&s.status().await).join(" ");
    assert!(company.contains("log/2") && company.contains("log/3"), "unit numbers are not reused: {company}");
});

story!(who_is_related_again_waits_for_the_last_subordinate_to_leave, s, {
    accompanied(&s).await;
    s.hang_hook("log/0", "stop");
    s.destroy_relation("log", "db", false).await;
    s.until_runs("log/0", "stop").await;
    s.relate("log:info", "db").await;
    gone(&s, "log/1").await;
    s.until("db/1 has company again", |model| !model.units[&"db/1".parse().unwrap()].subordinates.is_empty()).await;
    assert_eq!(company(&s.status().await), ["db/0: log/0", "db/1: log/2"]);
    s.kill_controller().await;
    s.release_hook("log/0", "stop");
    s.start_controller().await;
    gone(&s, "log/0").await;
    s.settle().await;
    assert_eq!(company(&s.status().await), ["db/0: log/3", "db/1: log/2"]);
});

story!(a_subordinate_service_goes_and_leaves_its_principals, s, {
    accompanied(&s).await;
    s.destroy_service("log", false).await;
    s.settle().await;
    assert_eq!(s.status().await.services.keys().collect::<Vec<_>>(), ["db"]);
    assert_eq!(s.hooks_of("db/0").last().map(String::as_str), Some("juju-info-relation-broken"));
});

story!(a_principal_service_goes_with_all_its_company, s, {
    accompanied(&s).await;
    s.destroy_service("db", false).await;
    s.settle().await;
    assert_eq!(s.status().await.services.keys().collect::<Vec<_>>(), ["log"]);
    assert!(s.model().units.is_empty() && s.model().relations.is_empty());
    s.destroy_service("log", false).await;
    s.settle().await;
    assert!(s.model().services.is_empty() && s.model().charms.is_empty());
});

story!(force_takes_a_principal_and_its_company_at_once, s, {
    accompanied(&s).await;
    s.hang_hook("log/0", "stop");
    s.destroy_unit("db/0", false).await;
    s.until_runs("log/0", "stop").await;
    s.destroy_unit("db/0", true).await;
    assert!(!s.model().units.contains_key(&"log/0".parse().unwrap()));
    s.settle().await;
    s.destroy_machine("2", true).await;
    s.settle().await;
    assert!(s.model().units.is_empty());
    s.destroy_service("log", true).await;
    s.settle().await;
    assert_eq!(s.status().await.services.keys().collect::<Vec<_>>(), ["db"]);
});

story!(a_subordinate_in_error_is_shown_below_its_principal_and_holds_up_nobody, s, {
    s.fail_hook("log/0", "start");
    s.fail_hook("log/0", "stop");
    s.deploy("db", 1).await;
    s.deploy("log", 1).await;
    s.relate("log:info", "db").await;
    s.settle().await;
    let status = s.status().await;
    assert_eq!(status.services["db"].units["db/0"].subordinates["log/0"].agent_state, "error");
    let reasons = s.wait_fails(&[Target::Service("db".parse().unwrap())], Condition::Active).await;
    assert!(reasons.iter().any(|reason| reason.starts_with("log/0 is in error")), "{reasons:?}");
    s.destroy_unit("db/0", false).await;
    s.settle().await;
    assert!(s.model().units.is_empty());
});

story!(waiting_for_a_subordinate_is_waiting_for_its_units_to_come, s, {
    s.fail_hook("db/0", "install");
    s.deploy("db", 1).await;
    s.deploy("log", 1).await;
    s.relate("log:info", "db").await;
    let reasons = s.wait_fails(&[Target::Service("log".parse().unwrap())], Condition::Active).await;
    assert_eq!(reasons, ["service log is pending: waits for db/0"]);
    s.heal_hook("db/0", "install");
    s.ask(api::Resolved { unit: "db/0".into(), retry: true }).await.unwrap();
    assert!(s.wait_fails(&[Target::Service("log".parse().unwrap())], Condition::Active).await.is_empty());
    assert_eq!(company(&s.status().await), ["db/0: log/0"]);
    s.settle().await;
});

story!(a_killed_controller_makes_no_second_subordinate, s, {
    s.hang_hook("log/0", "install");
    s.deploy("db", 1).await;
    s.deploy("log", 1).await;
    s.relate("log:info", "db").await;
    s.until_runs("log/0", "install").await;
    s.kill_controller().await;
    s.release_hook("log/0", "install");
    s.start_controller().await;
    s.settle().await;
    assert_eq!(company(&s.status().await), ["db/0: log/0"]);
    assert_eq!(s.hooks_of("log/0").iter().filter(|hook| *hook == "install").count(), 1);
});

story!(what_subordinates_cannot_is_refused_with_what_they_can, s, {
    let told = |refusal: api::Refusal| [vec![refusal.error], refusal.hints].concat();
    let refused = s.try_deploy("log", "log", 2).await.unwrap_err();
    assert_eq!(
        told(refused),
        [
            "cannot use --num-units or --to with subordinate service",
            "its units live on the machines of the services that you relate it to"
        ]
    );
    assert!(s.model().services.is_empty(), "nothing is deployed");
    accompanied(&s).await;
    let refused = s.ask(api::AddUnit { service: "log".into(), units: 1, to: None }).await.unwrap_err();
    assert_eq!(
        told(refused),
        [
            "cannot add unit to service \"log\": service is a subordinate",
            "its units come with those it is related to, e.g. `encanto add-relation log mysql`"
        ]
    );
    let destroy = |unit: &str| api::DestroyUnit { units: vec![unit.into()], force: true };
    assert_eq!(
        told(s.ask(destroy("log/0")).await.unwrap_err()),
        [
            "no units were destroyed: unit \"log/0\" is a subordinate",
            "`encanto destroy-relation log db` takes it off, `encanto destroy-unit db/0` both"
        ]
    );
    let machine = s.ask(api::DestroyMachine { machines: vec!["1".into()], force: false }).await.unwrap_err();
    assert_eq!(machine.error, "no machines were destroyed: machine 1 has unit \"db/0\" assigned");
    let upgrade = s.upgrade("log", "log-alone", false).await.unwrap_err();
    assert_eq!(upgrade.error, "cannot upgrade service \"log\" to charm \"log\": cannot change a service's subordinacy");
});

story!(a_pattern_shows_a_unit_with_its_company, s, {
    accompanied(&s).await;
    let shown = async |pattern: &str| {
        let status = s.ask(api::Status { patterns: vec![pattern.into()] }).await.unwrap();
        let services: Vec<String> = status.services.keys().cloned().collect();
        let machines: Vec<String> = status.machines.keys().cloned().collect();
        (company(&status), services.join(" "), machines.join(" "))
    };
    let both = |company: &str, machine: &str| (vec![company.to_owned()], "db log".to_owned(), machine.to_owned());
    assert_eq!(shown("log/1").await, both("db/1: log/1", "2"));
    assert_eq!(shown("db/0").await, both("db/0: log/0", "1"));
});

story!(a_dying_unit_says_what_its_subordinate_still_does_and_force_cuts_both_off, s, {
    accompanied(&s).await;
    s.hang_hook("log/0", "stop");
    s.destroy_unit("db/0", false).await;
    s.until_runs("log/0", "stop").await;
    let unit = s.status().await.services["db"].units["db/0"].clone();
    // Whose stop came first is chance: they share a machine.
    let waits = unit.agent_state_info.as_deref().unwrap_or_default();
    let words = ["waits for hook stop of log/0, which runs", "waits for hook stop of log/0 on the same machine"];
    assert!(words.contains(&waits), "{waits}");
    let below = unit.subordinates["log/0"].clone();
    assert_eq!(below.agent_state_info.as_deref(), Some("waits for its hook stop, which runs"));
    s.destroy_relation("log", "db", true).await;
    s.settle().await;
    assert!(!s.model().units.keys().any(|unit| unit.service.as_str() == "log" || unit.number == 0));
});
