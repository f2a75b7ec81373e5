//! Machines that are stopped, started, copied and set back, told to a real controller on the simulated provider.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use encanto::api::backend::Backend;
use encanto::api::{self, Done, Refusal};
use encanto::model::{Event, MachineId, Power, Sighting};
use encanto::plan::settled::{Condition, Target};
use encanto::provider::{InstanceState, Provider, WriteOptions};
use support::scenario::{Scenario, story};

async fn add_machine(s: &Scenario, name: Option<&str>) -> Result<Done, Refusal> {
    let name = name.map(str::to_owned);
    s.ask(api::AddMachine { count: 1, series: None, constraints: None, placement: None, name }).await
}

async fn stop(s: &Scenario, machine: &str) -> Result<Done, Refusal> {
    s.ask(api::StopMachine { machines: vec![machine.into()] }).await
}

async fn start(s: &Scenario, machine: &str) -> Result<Done, Refusal> {
    s.ask(api::StartMachine { machines: vec![machine.into()] }).await
}

async fn restart(s: &Scenario, machine: &str) -> Result<Done, Refusal> {
    s.ask(api::RestartMachine { machines: vec![machine.into()] }).await
}

async fn clone(s: &Scenario, machine: &str, name: Option<&str>, constraints: Option<&str>) -> Result<Done, Refusal> {
    let (name, constraints) = (name.map(str::to_owned), constraints.map(str::to_owned));
    s.ask(api::CloneMachine { machine: machine.into(), count: 1, name, constraints }).await
}

async fn snapshot(s: &Scenario, machine: &str, name: &str) -> Result<Done, Refusal> {
    s.ask(api::TakeSnapshot { machine: machine.into(), name: Some(name.into()) }).await
}

async fn restore(s: &Scenario, machine: &str, snapshot: &str) -> Result<Done, Refusal> {
    s.ask(api::RestoreMachine { machine: machine.into(), snapshot: snapshot.into() }).await
}

async fn write(s: &Scenario, machine: u32, text: &str) {
    let (name, options) = (s.instance(machine), WriteOptions::default());
    s.provider.write_file(&name, "/srv/data", text.as_bytes(), &options).await.unwrap();
}

async fn read(s: &Scenario, machine: u32) -> String {
    String::from_utf8(s.provider.read_file(&s.instance(machine), "/srv/data", 100).await.unwrap()).unwrap()
}

/// How often the provider was asked for this of the machine.
fn calls(s: &Scenario, kind: &str, machine: u32) -> usize {
    let instance = Some(s.instance(machine));
    s.provider.calls().iter().filter(|call| call.kind == kind && call.instance == instance).count()
}

async fn state(s: &Scenario, machine: &str) -> (String, String) {
    let machine = s.status().await.machines[machine].clone();
    (machine.agent_state.unwrap_or_default(), machine.agent_state_info.unwrap_or_default())
}

fn words(refused: Result<Done, Refusal>) -> String {
    refused.unwrap_err().error
}

story!(a_machine_that_is_stopped_stays_so_and_its_units_wait, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    assert_eq!(stop(&s, "1").await.unwrap().notes, ["machine 1 is being stopped"]);
    s.settle().await;
    assert_eq!(state(&s, "1").await, ("stopped".into(), String::new()));
    s.expect_status("db/0", "down", "active").await;
    assert_eq!(s.info_of("db/0").await, "machine 1 is stopped");
    assert_eq!(stop(&s, "1").await.unwrap().notes, ["machine 1 is stopped already"]);
    // Hooks and actions wait, the relation stays, and who waits for all of it is told that it is as asked.
    s.set("db", "size", "9").await;
    let before = s.hooks_of("db/0");
    s.wait_active().await;
    assert_eq!(s.hooks_of("db/0"), before);
    let refused = s
        .ask(api::Run {
            units: vec!["db/0".into()],
            services: vec![],
            machines: vec![],
            all: false,
            command: "true".into(),
            timeout: 5,
        })
        .await
        .unwrap();
    assert!(format!("{refused:?}").contains("machine 1 is stopped"), "{refused:?}");
    // Neither a new controller nor a reboot of the host starts it.
    s.kill_controller().await;
    s.start_controller().await;
    s.settle().await;
    assert_eq!((calls(&s, "start", 1), state(&s, "1").await.0), (0, "stopped".into()));
    assert_eq!(start(&s, "1").await.unwrap().notes, ["machine 1 is being started"]);
    s.settle().await;
    s.expect_status("db/0", "started", "active").await;
    s.expect_last_hooks("db/0", &["config-changed"]);
    assert_eq!(start(&s, "1").await.unwrap().notes, ["machine 1 is started already"]);
    assert!(!s.hooks_of("app/0").iter().any(|hook| hook.contains("departed")), "nobody has left");
});

story!(a_machine_is_stopped_between_two_hooks, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.hang_hook("db/0", "config-changed");
    s.set("db", "size", "9").await;
    s.until_runs("db/0", "config-changed").await;
    stop(&s, "1").await.unwrap();
    let waits = "waits for what runs on machine 1 now";
    s.until_observed("it waits", |o| o.machine_activity.get(&MachineId::new(1)).is_some_and(|w| w == waits)).await;
    assert_eq!(calls(&s, "stop", 1), 0);
    // Who has changed his mind needs not wait.
    start(&s, "1").await.unwrap();
    s.until("it is on", |model| model.machines[&MachineId::new(1)].power == Power::On).await;
    stop(&s, "1").await.unwrap();
    s.release_hook("db/0", "config-changed");
    s.settle().await;
    assert_eq!((calls(&s, "stop", 1), state(&s, "1").await.0), (1, "stopped".into()));
    s.expect_last_hooks("db/0", &["config-changed"]);
});

story!(a_restart_is_one_whenever_the_controller_dies, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    // While it is stopped, after it was stopped, and while it is started.
    for (round, held) in [(1, "stop"), (2, "start")] {
        s.provider.hold(held);
        assert_eq!(restart(&s, "1").await.unwrap().notes, ["machine 1 is being restarted"]);
        let at = Some(s.instance(1));
        let begun =
            |s: &Scenario| s.provider.calls().last().is_some_and(|call| call.kind == held && call.instance == at);
        while !begun(&s) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        s.kill_controller().await;
        s.provider.let_go(held);
        s.start_controller().await;
        s.settle().await;
        assert_eq!(state(&s, "1").await.0, "started");
        let halted = s.journal.entries().iter().filter(|e| matches!(e.event, Event::MachineHalted { .. })).count();
        assert_eq!(halted, round, "each wish is fulfilled once");
    }
    s.expect_status("db/0", "started", "active").await;
    stop(&s, "1").await.unwrap();
    s.settle().await;
    assert_eq!(restart(&s, "1").await.unwrap().notes, ["machine 1 is being started"]);
    s.settle().await;
    assert_eq!(state(&s, "1").await.0, "started");
});

story!(what_is_removed_starts_its_machine_for_its_last_hooks, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    stop(&s, "1").await.unwrap();
    s.settle().await;
    // A relation is not reason enough: its members live on.
    s.destroy_relation("app", "db", false).await;
    let obstacle = s.wait_fails(&[Target::Service("app".parse().unwrap())], Condition::Active).await;
    let waits = "relation app:db db:db is dying: waits for db/0, whose machine 1 is stopped: \
                 `encanto machine start 1`, or `encanto destroy-relation app:db db:db --force`";
    assert!(obstacle.iter().any(|words| words == waits), "{obstacle:?}");
    let done = s.ask(api::DestroyUnit { units: vec!["db/0".into()], force: false }).await.unwrap();
    assert_eq!(done.notes, ["machine 1 is started for the last hooks of its units"]);
    let leaving = words(stop(&s, "1").await);
    assert_eq!(leaving, "cannot stop machine 1: unit \"db/0\" is being removed");
    s.settle().await;
    s.expect_last_hooks("db/0", &["db-relation-departed app/0", "db-relation-broken", "stop"]);
    assert_eq!(state(&s, "1").await.0, "started");
    stop(&s, "1").await.unwrap();
    s.destroy_machine("1", false).await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [2]);
});

story!(force_leaves_a_stopped_machine_alone, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    stop(&s, "1").await.unwrap();
    s.settle().await;
    s.destroy_service("app", true).await;
    s.settle().await;
    s.destroy_unit("db/0", true).await;
    s.settle().await;
    assert_eq!((calls(&s, "start", 1), state(&s, "1").await.0), (0, "stopped".into()));
    assert!(s.model().relations.values().all(|relation| relation.is_peer()), "it did not wait for db/0");
});

story!(a_new_unit_on_a_stopped_machine_waits_for_it, s, {
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    stop(&s, "1").await.unwrap();
    s.settle().await;
    s.deploy_to("db", "1").await;
    s.deploy("app", 1).await;
    s.settle().await;
    assert_eq!(s.info_of("db/0").await, "machine 1 is stopped");
    assert_eq!(s.model().units[&"app/0".parse().unwrap()].machine, MachineId::new(2), "nobody gets it by himself");
    start(&s, "1").await.unwrap();
    s.settle().await;
    s.expect_status("db/0", "started", "active").await;
});

story!(a_copy_has_all_that_is_on_the_disk_and_no_units, s, {
    s.deploy("db", 1).await;
    s.ask(api::SetConstraints { service: None, constraints: "mem=1G".into() }).await.unwrap();
    s.settle().await;
    write(&s, 1, "of the first").await;
    let done = clone(&s, "1", Some("trial"), Some("cpu-cores=1")).await.unwrap();
    assert_eq!(done.notes, ["created machine 2", "machine 2 becomes a copy of machine 1", "machine 2 is called trial"]);
    assert_eq!(done.targets, ["2"]);
    s.settle().await;
    assert_eq!(read(&s, 2).await, "of the first");
    let status = s.status().await.machines["2"].clone();
    assert_eq!((status.copy_of.as_deref(), status.name.as_deref()), (Some("1"), Some("trial")));
    assert_eq!(
        status.hardware.as_deref(),
        Some("arch=amd64 cpu-cores=1 mem=8192M"),
        "as the other, which had no limits"
    );
    s.deploy("app", 1).await;
    s.settle().await;
    assert_eq!(s.model().units[&"app/0".parse().unwrap()].machine, MachineId::new(3), "its disk is not empty");
    // By its name, wherever a machine is named.
    s.add_unit_to("app", "trial").await;
    s.ask(api::AddUnit { service: "app".into(), units: 1, to: Some("lxc:trial".into()) }).await.unwrap();
    s.settle().await;
    assert_eq!(s.machine_numbers(), [1, 2, 2, 3]);
    assert_eq!(
        words(clone(&s, "1", Some("trial"), None).await),
        "cannot name a machine \"trial\": machine 2 is named so"
    );
    assert_eq!(words(clone(&s, "0", None, None).await), "cannot clone machine 0: it is this host");
    assert_eq!(words(clone(&s, "9", None, None).await), "machine 9 not found");
    let other = words(clone(&s, "1", None, Some("virt-type=kvm")).await);
    assert_eq!(other, "cannot clone machine 1 as another kind of machine");
});

story!(a_copy_that_cannot_be_made_is_tried_again_and_what_it_is_made_of_waits, s, {
    s.kill_controller().await;
    s.retry_hooks = Some(1);
    s.start_controller().await;
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    s.provider.hold("clone");
    clone(&s, "1", None, None).await.unwrap();
    s.destroy_machine("1", false).await;
    s.until("it waits", |model| !model.machines[&MachineId::new(1)].copies_due.is_empty()).await;
    assert_eq!(calls(&s, "destroy", 1), 0);
    s.kill_controller().await;
    s.provider.let_go("clone");
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.machine_numbers(), [2]);
    // What is copied of a machine that is gone will never be made, and is not tried again.
    s.provider.fail_next("clone", "no room");
    clone(&s, "2", None, None).await.unwrap();
    s.until("it failed", |model| model.machines[&MachineId::new(2)].copies_due.is_empty()).await;
    s.destroy_machine("2", false).await;
    s.until("it is gone", |model| !model.machines.contains_key(&MachineId::new(2))).await;
    let retry = s.ask(api::RetryProvisioning { machines: vec!["3".into()] }).await;
    assert_eq!(words(retry), "cannot make machine 3: machine 2, which it is a copy of, is gone");
    s.destroy_machine("3", false).await;
    s.settle().await;
    assert!(s.machine_numbers().is_empty());
});

story!(a_disk_is_kept_and_given_back, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    write(&s, 1, "first").await;
    assert_eq!(snapshot(&s, "1", "monday").await.unwrap().notes, ["snapshot monday of machine 1 is taken"]);
    write(&s, 1, "second").await;
    assert_eq!(words(snapshot(&s, "1", "monday").await), "cannot take snapshot \"monday\" of machine 1: it has one");
    assert_eq!(words(snapshot(&s, "1", "../x").await), "invalid snapshot name \"../x\"");
    let refused = restore(&s, "1", "mondai").await.unwrap_err();
    assert_eq!(
        (refused.error.as_str(), refused.hints.join("")),
        ("machine 1 has no snapshot \"mondai\"", "did you mean `monday`?".into())
    );
    let done = restore(&s, "1", "monday").await.unwrap();
    assert_eq!(done.notes[0], "machine 1 has the disk again that it had at snapshot monday");
    assert_eq!(read(&s, 1).await, "first");
    s.settle().await;
    s.expect_status("db/0", "started", "active").await;
    let unnamed = s.ask(api::TakeSnapshot { machine: "1".into(), name: None }).await.unwrap();
    assert!(unnamed.notes[0].starts_with("snapshot 20"), "{unnamed:?}");
    let list = s.ask(api::ListSnapshots { machine: "1".into() }).await.unwrap().snapshots;
    assert_eq!((list.len(), list[0].name.as_str(), list[0].size), (2, "monday", 5));
    s.ask(api::DropSnapshot { machine: "1".into(), name: "monday".into() }).await.unwrap();
    let gone = s.ask(api::DropSnapshot { machine: "1".into(), name: "monday".into() }).await;
    assert_eq!(words(gone), "machine 1 has no snapshot \"monday\"");
    assert_eq!(words(snapshot(&s, "0", "x").await), "machine 0 is this host");
});

story!(a_restore_goes_on_when_the_controller_dies_and_says_when_it_fails, s, {
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    write(&s, 1, "first").await;
    snapshot(&s, "1", "monday").await.unwrap();
    write(&s, 1, "second").await;
    s.provider.fail_next("restore", "no room");
    assert_eq!(words(restore(&s, "1", "monday").await), "snapshot monday of machine 1 was not restored: no room");
    let told = ("started".to_owned(), "snapshot monday was not restored: no room".to_owned());
    assert_eq!((state(&s, "1").await, read(&s, 1).await), (told, "second".into()));
    s.provider.hold("restore");
    let change =
        encanto::model::MachineChange::Restore { machine: MachineId::new(1), snapshot: "monday".parse().unwrap() };
    s.ledger().commit("machine restore", encanto::model::Change::Machine(change)).await.unwrap();
    s.until_observed("it is at work", |o| o.machine_activity.contains_key(&MachineId::new(1))).await;
    assert_eq!(words(restore(&s, "1", "monday").await), "cannot restore machine 1: it is being restored");
    s.kill_controller().await;
    s.provider.let_go("restore");
    s.start_controller().await;
    s.settle().await;
    assert_eq!((state(&s, "1").await, read(&s, 1).await), (("started".into(), String::new()), "first".into()));
    stop(&s, "1").await.unwrap();
    s.settle().await;
    restore(&s, "1", "monday").await.unwrap();
    s.settle().await;
    assert_eq!(state(&s, "1").await.0, "stopped", "what does not run is not started");
});

story!(machines_are_listed_with_what_is_in_them, s, {
    s.deploy("db", 1).await;
    add_machine(&s, Some("big-box")).await.unwrap();
    s.settle().await;
    snapshot(&s, "big-box", "monday").await.unwrap();
    stop(&s, "big-box").await.unwrap();
    s.settle().await;
    let all = s.ask(api::ListMachines {}).await.unwrap().machines;
    let told =
        |at: usize| (all[at].machine.as_str(), all[at].state.as_str(), all[at].snapshots, all[at].units.join(","));
    assert_eq!(told(0), ("0", "started", None, String::new()));
    assert_eq!(told(1), ("1", "started", Some(0), "db/0".into()));
    assert_eq!(told(2), ("2", "stopped", Some(1), String::new()));
    assert_eq!(
        (all[2].name.as_deref(), all[2].kind.as_deref(), all[2].mem),
        (Some("big-box"), Some("lxc"), Some(8192))
    );
    let taken = words(add_machine(&s, Some("big-box")).await);
    assert_eq!(taken, "cannot name a machine \"big-box\": machine 2 is named so");
    let kind = words(add_machine(&s, Some("kvm")).await);
    assert_eq!(kind, "cannot name a machine \"kvm\": that is a kind of machines");
    for bad in ["new", "machine-3", "3", "Big"] {
        assert_eq!(words(add_machine(&s, Some(bad)).await), format!("invalid machine name \"{bad}\""));
    }
    s.destroy_machine("big-box", false).await;
    s.settle().await;
    add_machine(&s, Some("big-box")).await.unwrap();
    s.settle().await;
    assert_eq!(s.machine_numbers(), [1, 3]);
});

story!(the_history_tells_it, s, {
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    restart(&s, "1").await.unwrap();
    s.settle().await;
    snapshot(&s, "1", "monday").await.unwrap();
    restore(&s, "1", "monday").await.unwrap();
    let log = s.ask(api::StatusLog { entity: "1".into(), lines: 6 }).await.unwrap().entries;
    let told: Vec<String> = log.iter().map(|entry| format!("{} {}", entry.state, entry.message)).collect();
    let wanted = [
        "restarting ",
        "down to be started again",
        "started ",
        "snapshot monday taken",
        "restoring snapshot monday",
        "restored snapshot monday",
    ];
    assert_eq!(told, wanted);
    let history = s.ask(api::History { lines: 3, ..Default::default() }).await.unwrap().entries;
    let effects: Vec<String> = history.iter().flat_map(|entry| entry.effects.clone()).collect();
    let wanted = ["machine 1 restarted", "snapshot monday of machine 1 taken", "machine 1 set back to snapshot monday"];
    assert_eq!(effects, wanted);
});

story!(a_lost_machine_is_not_restarted_or_copied, s, {
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    s.provider.vanish(&s.instance(1));
    s.until_observed("it is missed", |o| o.instances.get(&MachineId::new(1)) == Some(&Sighting::Missing)).await;
    for refused in [restart(&s, "1").await, clone(&s, "1", None, None).await, snapshot(&s, "1", "x").await] {
        let refused = refused.unwrap_err();
        assert!(refused.error.starts_with("machine 1 has lost its"), "{refused:?}");
        assert!(refused.hints[0].contains("destroy-machine 1 --force"), "{refused:?}");
    }
    let session = s.backend().console(MachineId::new(1), (80, 24)).await;
    assert!(session.is_err());
    let list = s.ask(api::ListMachines {}).await.unwrap().machines;
    assert_eq!(
        (list[1].state.as_str(), list[1].info.as_deref()),
        ("down", Some("its container is gone: encanto destroy-machine 1 --force"))
    );
    s.destroy_machine("1", true).await;
    s.settle().await;
});

story!(that_a_stopped_machine_is_lost_is_seen_when_it_is_needed, s, {
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    stop(&s, "1").await.unwrap();
    s.settle().await;
    s.provider.vanish(&s.instance(1));
    clone(&s, "1", None, None).await.unwrap();
    s.until_observed("it is missed", |o| o.instances.get(&MachineId::new(1)) == Some(&Sighting::Missing)).await;
    let told = "its container is gone: encanto destroy-machine 1 --force";
    assert_eq!(state(&s, "1").await, ("down".into(), told.into()));
    assert_eq!(s.wait_fails(&[], Condition::Active).await[0], format!("machine 1 is down: {told}"));
    let refused = words(clone(&s, "1", None, None).await);
    assert!(refused.starts_with("machine 1 has lost its"), "{refused}");
    s.destroy_machine("2", true).await;
    s.destroy_machine("1", true).await;
    s.settle().await;
    assert!(s.machine_numbers().is_empty());
});

story!(a_machine_whose_start_failed_is_stopped_all_the_same, s, {
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    stop(&s, "1").await.unwrap();
    s.settle().await;
    s.provider.fail_next("start", "it took too long");
    start(&s, "1").await.unwrap();
    s.until_observed("it failed", |o| o.instances.get(&MachineId::new(1)) == Some(&Sighting::Unknown)).await;
    assert_eq!(state(&s, "1").await.0, "down");
    // What failed had its effect.
    s.provider.start(&s.instance(1)).await.unwrap();
    stop(&s, "1").await.unwrap();
    s.settle().await;
    assert_eq!(state(&s, "1").await.0, "stopped");
    assert_eq!(s.provider.list().await.unwrap()[&s.instance(1)], InstanceState::Stopped);
});

story!(the_console_of_a_machine, s, {
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    let mut session = s.backend().console(MachineId::new(1), (100, 30)).await.unwrap();
    match session.output.recv().await {
        Some(api::Frame::Stdout(said)) => {
            assert!(String::from_utf8_lossy(&said).contains("machine-1 console, 100 columns, 30 rows"), "{said:?}");
        }
        other => panic!("{other:?}"),
    }
    drop(session);
    stop(&s, "1").await.unwrap();
    s.settle().await;
    let refused = s.backend().console(MachineId::new(1), (80, 24)).await.err().unwrap();
    assert_eq!(
        (refused.error.as_str(), refused.hints.join("")),
        ("machine 1 is stopped", "encanto machine start 1".into())
    );
    assert_eq!(s.provider.list().await.unwrap()[&s.instance(1)], InstanceState::Stopped);
});

story!(whoever_asks_for_a_start_again_wants_it_now, s, {
    add_machine(&s, None).await.unwrap();
    s.settle().await;
    s.provider.fail_next("start", "no image");
    s.provider.stop_behind(&s.instance(1));
    s.until_observed("the failure", |o| o.troubles.values().any(|trouble| trouble.failures == 1)).await;
    let due = s.backend().observed().troubles[&MachineId::new(1)].next;
    assert_eq!(start(&s, "1").await.unwrap().notes, ["machine 1 is being started"]);
    s.settle().await;
    assert!(s.backend().now() < due, "it was to be tried by itself then");
    assert_eq!(s.status().await.machines["1"].agent_state.as_deref(), Some("started"));
    assert_eq!(start(&s, "1").await.unwrap().notes, ["machine 1 is started already"]);
});
