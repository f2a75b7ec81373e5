//! Stories about a world that changes by itself: networks that are torn, machines that do not come up, full disks.

#![allow(clippy::unwrap_used, reason = "a story that cannot go on ends")]

mod support;

use encanto::plan::settled::Condition;
use std::time::Duration;

use encanto::api::backend::Backend;
use support::scenario::Scenario;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

async fn host(s: &Scenario) -> (String, Option<String>) {
    let host = s.status().await.machines["0"].clone();
    (host.agent_state.unwrap_or_default(), host.agent_state_info)
}

fn calls(s: &Scenario, kind: &str) -> usize {
    s.provider.calls().iter().filter(|call| call.kind == kind).count()
}

/// For what nobody tells of.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let comes = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, comes).await.is_ok(), "{what} never came");
}

/// Waits until the provider was asked so often for something.
async fn until_called(s: &Scenario, kind: &str, times: usize) {
    until(kind, || calls(s, kind) >= times).await;
}

#[tokio::test]
async fn a_torn_network_is_put_right_and_the_ports_are_open_again() {
    let s = Scenario::new().await;
    s.deploy("app", 1).await;
    s.expose("app", &["8080:80"]).await;
    s.settle().await;
    until("two open ports", || s.provider.published().len() == 2).await;
    let published = s.provider.published();
    s.provider.disturb("the bridge is gone");
    until_called(&s, "mend", 1).await;
    s.settle().await;
    assert_eq!(host(&s).await, ("started".into(), None));
    assert_eq!(s.provider.published(), published);
    s.nothing_more_happens().await;
}

#[tokio::test]
async fn a_network_that_cannot_be_put_right_is_told_and_tried_again() {
    let s = Scenario::new().await;
    s.deploy("db", 1).await;
    s.settle().await;
    s.provider.fail_next("mend", "ip: no such device");
    s.provider.disturb("the bridge is gone");
    until_called(&s, "mend", 1).await;
    let words = "the bridge is gone, and cannot be put right: ip: no such device";
    s.until_observed("the failure", |observed| observed.mending_failed).await;
    assert_eq!(host(&s).await, ("error".into(), Some(words.into())));
    assert_eq!(s.backend().problems().await, [words]);
    assert_eq!(s.wait_fails(&[], Condition::Active).await, [format!("machine 0 is in error: {words}")]);
    // Seconds later, by itself.
    s.settle().await;
    assert_eq!(host(&s).await, ("started".into(), None));
    assert_eq!(calls(&s, "mend"), 2);
}

#[tokio::test]
async fn a_network_that_is_torn_again_and_again_is_mended_later_each_time() {
    let s = Scenario::new().await;
    s.deploy("db", 1).await;
    s.settle().await;
    let begun = std::time::Instant::now();
    for round in 1..=2 {
        s.provider.disturb("the firewall table was changed");
        until_called(&s, "mend", round).await;
        s.settle().await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_machine_that_does_not_start_is_tried_later_each_time_and_can_be_destroyed() {
    let s = Scenario::new().await;
    s.deploy("db", 1).await;
    s.settle().await;
    for _ in 0..3 {
        s.provider.fail_next("start", "no cgroup left");
    }
    s.provider.stop_behind(&s.instance(1));
    until_called(&s, "start", 2).await;
    s.until_observed("the second failure", |observed| observed.troubles.values().any(|trouble| trouble.failures == 2))
        .await;
    let machine = s.status().await.machines["1"].clone();
    assert_eq!(machine.agent_state.as_deref(), Some("down"));
    let info = machine.agent_state_info.unwrap();
    assert!(info.starts_with("no cgroup left (next try at 20"), "{info}");
    assert_eq!(
        s.backend().problems().await,
        ["machine 1 cannot be started: no cgroup left: `encanto destroy-machine 1 --force`"]
    );
    let reasons = s.wait_fails(&[], Condition::Active).await;
    assert!(reasons.contains(&"machine 1 is down: no cgroup left".to_owned()), "{reasons:?}");
    // What waits for its next start is destroyed without waiting.
    s.destroy_machine("1", true).await;
    s.nothing_more_happens().await;
    assert_eq!(s.machine_numbers(), [0_u32; 0]);
}

#[tokio::test]
async fn a_machine_that_is_half_deleted_is_missing() {
    let s = Scenario::new().await;
    s.deploy("db", 1).await;
    s.settle().await;
    s.provider.stop_behind(&s.instance(1));
    s.until_instance(1, "stopped", 0).await;
    // Between the look at it and the start.
    s.provider.vanish(&s.instance(1));
    s.until_observed("the loss", |observed| {
        observed.instances.values().any(|seen| *seen == encanto::model::Sighting::Missing)
    })
    .await;
    s.expect_status("db/0", "down", "active").await;
    s.destroy_machine("1", true).await;
    s.nothing_more_happens().await;
}

#[tokio::test]
async fn a_machine_that_could_not_be_created_is_asked_for_again_by_itself() {
    let mut s = Scenario::new().await;
    s.kill_controller().await;
    s.retry_hooks = Some(5_000);
    s.start_controller().await;
    s.provider.fail_next("create", "no space left on device");
    s.deploy("db", 1).await;
    s.until("the failure", |model| {
        model.machines.values().any(|m| matches!(m.provision, encanto::model::Provision::Failed { .. }))
    })
    .await;
    let machine = s.status().await.machines["1"].clone();
    assert_eq!(machine.agent_state.as_deref(), Some("error"));
    let info = machine.agent_state_info.unwrap();
    assert!(info.starts_with("no space left on device (next try at 20"), "{info}");
    s.wait_active().await;
    s.until("the second try", |model| model.units.values().all(|unit| unit.started)).await;
    s.nothing_more_happens().await;
    assert_eq!(calls(&s, "create"), 2);
}

#[tokio::test]
async fn a_full_disk_is_told_of_as_long_as_it_is_full() {
    let s = Scenario::new().await;
    s.deploy("db", 1).await;
    s.settle().await;
    s.journal.fail_after(Some(0));
    let refused = s.try_deploy("app", "app", 1).await.unwrap_err();
    assert!(refused.error.contains("database or disk is full"), "{refused:?}");
    let words = "the journal cannot be written: database or disk is full";
    assert_eq!(host(&s).await, ("error".into(), Some(words.into())));
    s.journal.fail_after(None);
    s.settle().await;
    assert_eq!(host(&s).await, ("started".into(), None), "found out although nobody had anything to write");
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.nothing_more_happens().await;
    assert_eq!(host(&s).await, ("started".into(), None));
    s.expect_status("app/0", "started", "active").await;
}

#[tokio::test]
async fn a_host_that_was_rebooted_has_its_machines_again() {
    let mut s = Scenario::new().await;
    s.deploy("db", 2).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    let before = s.model();
    let machines = s.machine_numbers();
    s.kill_controller().await;
    for machine in machines {
        s.provider.stop_behind(&s.instance(machine));
    }
    s.provider.disturb("the bridge is gone");
    s.start_controller().await;
    s.nothing_more_happens().await;
    assert_eq!(calls(&s, "start"), 3);
    for (id, machine) in &s.model().machines {
        assert_eq!(machine.address(), before.machines[id].address());
        assert_eq!(s.status().await.machines[&id.to_string()].agent_state.as_deref(), Some("started"));
    }
}

#[tokio::test]
async fn related_services_destroyed_by_force_in_one_command_are_both_gone() {
    let s = Scenario::new().await;
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    s.ask(encanto::api::DestroyService { services: vec!["app".into(), "db".into()], force: true }).await.unwrap();
    s.nothing_more_happens().await;
    assert!(s.model().services.is_empty(), "{:?}", s.model().services.keys());
}
