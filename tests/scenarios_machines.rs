//! Machines and the containers on them, told to a real controller on the simulated provider.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use encanto::api;
use encanto::model::Event;
use support::scenario::{Scenario, story};

async fn add_unit_to(s: &Scenario, service: &str, to: &str) -> Vec<String> {
    s.ask(api::AddUnit { service: service.into(), units: 1, to: Some(to.into()) }).await.unwrap().notes
}

async fn add_machine(s: &Scenario, placement: Option<&str>, constraints: Option<&str>) -> Vec<String> {
    let (placement, constraints) = (placement.map(str::to_owned), constraints.map(str::to_owned));
    s.ask(api::AddMachine { count: 1, series: None, constraints, placement, name: None }).await.unwrap().notes
}

async fn set_constraints(s: &Scenario, service: Option<&str>, constraints: &str) -> Vec<String> {
    let service = service.map(str::to_owned);
    s.ask(api::SetConstraints { service, constraints: constraints.into() }).await.unwrap().notes
}

async fn refused(s: &Scenario, machines: &[&str]) -> String {
    let machines = machines.iter().map(|machine| (*machine).to_owned()).collect();
    s.ask(api::DestroyMachine { machines, force: false }).await.unwrap_err().error
}

fn machines(s: &Scenario) -> Vec<String> {
    s.model().machines.keys().map(ToString::to_string).collect()
}

story!(a_unit_goes_into_a_new_container_on_a_machine, s, {
    s.deploy("db", 1).await;
    let notes = add_unit_to(&s, "db", "lxc:1").await;
    assert_eq!(notes, ["created container 1/lxc/0", "unit db/1 is placed on machine 1/lxc/0"]);
    s.settle().await;
    s.expect_status("db/1", "started", "active").await;
    let status = s.status().await;
    assert_eq!(status.machines.keys().collect::<Vec<_>>(), ["0", "1"]);
    let container = &status.machines["1"].containers["1/lxc/0"];
    assert_eq!(container.instance_id, "me-test-machine-1-lxc-0");
    assert_eq!(container.agent_state.as_deref(), Some("started"));
    assert_eq!(status.services["db"].units["db/1"].machine.as_deref(), Some("1/lxc/0"));
    // Peers in a container and on its machine meet like any others.
    assert!(s.hooks_of("db/0").contains(&"cluster-relation-joined db/1".to_owned()));
});

story!(several_units_share_a_container, s, {
    s.deploy("db", 1).await;
    add_machine(&s, Some("lxc:1"), None).await;
    add_unit_to(&s, "db", "1/lxc/0").await;
    s.deploy("app", 1).await;
    add_unit_to(&s, "app", "1/lxc/0").await;
    s.settle().await;
    let status = s.status().await;
    assert_eq!(status.services["app"].units["app/1"].machine.as_deref(), Some("1/lxc/0"));
    assert_eq!(machines(&s), ["0", "1", "1/lxc/0", "2"]);
    let shown = s.ask(api::Status { patterns: vec!["app/1".into()] }).await.unwrap();
    assert_eq!(shown.machines.keys().collect::<Vec<_>>(), ["1"], "a container is shown inside its machine");
    assert_eq!(shown.machines["1"].containers.len(), 1);
});

story!(a_machine_does_not_go_before_its_containers, s, {
    s.deploy("db", 1).await;
    add_unit_to(&s, "db", "lxc:1").await;
    s.settle().await;
    s.destroy_unit("db/0", false).await;
    s.settle().await;
    assert_eq!(refused(&s, &["1"]).await, "no machines were destroyed: machine 1 is hosting containers \"1/lxc/0\"");
    assert_eq!(
        refused(&s, &["1", "1/lxc/0"]).await,
        "no machines were destroyed: machine 1/lxc/0 has unit \"db/1\" assigned"
    );
    s.destroy_unit("db/1", false).await;
    s.settle().await;
    s.ask(api::DestroyMachine { machines: vec!["1".into(), "1/lxc/0".into()], force: false }).await.unwrap();
    s.settle().await;
    assert_eq!(machines(&s), ["0"]);
    let destroyed: Vec<String> =
        s.provider.calls().iter().filter(|c| c.kind == "destroy").map(|c| format!("{:?}", c.instance)).collect();
    assert!(destroyed[0].contains("machine-1-lxc-0") && !destroyed[1].contains("lxc"), "{destroyed:?}");
});

story!(force_takes_the_containers_and_their_units_along, s, {
    s.hang_hook("db/1", "install");
    s.deploy("db", 1).await;
    add_unit_to(&s, "db", "lxc:1").await;
    s.until_runs("db/1", "install").await;
    s.destroy_machine("1", true).await;
    s.settle().await;
    assert_eq!(machines(&s), ["0"]);
    assert!(s.model().units.is_empty() && s.provider.spec(&s.instance(1)).is_none());
});

story!(a_machine_waits_for_a_container_that_cannot_be_destroyed_yet, s, {
    s.deploy("db", 1).await;
    add_unit_to(&s, "db", "lxc:1").await;
    s.settle().await;
    s.provider.fail_next("destroy", "device or resource busy");
    s.destroy_machine("1", true).await;
    s.kill_controller().await;
    s.start_controller().await;
    s.settle().await;
    assert_eq!(machines(&s), ["0"]);
});

story!(a_container_of_a_lost_machine_goes_on, s, {
    s.deploy("db", 1).await;
    add_unit_to(&s, "db", "lxc:1").await;
    s.settle().await;
    s.provider.vanish(&s.instance(1));
    s.until_instance(1, "missing", 0).await;
    let status = s.status().await;
    assert_eq!(status.machines["1"].agent_state.as_deref(), Some("down"));
    assert_eq!(status.machines["1"].containers["1/lxc/0"].agent_state.as_deref(), Some("started"));
    s.set("db", "size", "2").await;
    s.until("db/1 goes on", |model| model.units[&"db/1".parse().unwrap()].config_seen == Some(2)).await;
    s.destroy_machine("1", true).await;
    s.settle().await;
    assert_eq!(machines(&s), ["0"]);
});

story!(a_container_that_cannot_be_made_is_tried_again, s, {
    add_machine(&s, None, None).await;
    s.settle().await;
    s.provider.fail_next("create", "no space left on device");
    add_machine(&s, Some("lxc:1"), None).await;
    s.settle().await;
    let container = s.status().await.machines["1"].containers["1/lxc/0"].clone();
    assert_eq!(container.agent_state_info.as_deref(), Some("no space left on device"));
    s.ask(api::RetryProvisioning { machines: vec!["1/lxc/0".into()] }).await.unwrap();
    s.settle().await;
    let container = s.status().await.machines["1"].containers["1/lxc/0"].clone();
    assert_eq!(container.agent_state.as_deref(), Some("started"));
});

story!(numbers_of_containers_are_not_used_again_and_survive_the_controller, s, {
    add_machine(&s, None, None).await;
    add_machine(&s, Some("lxc:1"), None).await;
    add_machine(&s, Some("lxc:0"), None).await;
    s.settle().await;
    s.destroy_machine("1/lxc/0", false).await;
    s.settle().await;
    s.kill_controller().await;
    s.start_controller().await;
    assert_eq!(add_machine(&s, Some("lxc:1"), None).await, ["created container 1/lxc/1"]);
    s.settle().await;
    assert_eq!(machines(&s), ["0", "0/lxc/0", "1", "1/lxc/1"]);
});

story!(what_cannot_hold_a_container_is_told, s, {
    add_machine(&s, None, None).await;
    add_machine(&s, Some("lxc:1"), None).await;
    let ask = |to: &str| api::AddMachine {
        count: 1,
        series: None,
        constraints: None,
        placement: Some(to.into()),
        name: None,
    };
    let nested = s.ask(ask("lxc:1/lxc/0")).await.unwrap_err();
    assert!(nested.error.ends_with("it is a container itself, and a container cannot hold containers"), "{nested:?}");
    let deeper = s.ask(ask("lxc:1/lxc/0/lxc/0")).await.unwrap_err();
    assert_eq!(deeper.error, "invalid machine id \"1/lxc/0/lxc/0\": a container cannot hold containers");
    assert_eq!(s.ask(ask("xen:1")).await.unwrap_err().error, "malformed container argument \"xen:1\"");
    assert_eq!(s.ask(ask("lxc:7")).await.unwrap_err().error, "machine 7 not found");
    s.deploy("db", 1).await;
    for (to, words) in [
        ("lxc:9", "machine 9 not found"),
        ("1/lxc/9", "machine 1/lxc/9 not found"),
        ("1/lxc/0/lxc/1", "invalid machine id \"1/lxc/0/lxc/1\": a container cannot hold containers"),
        ("xen:1", "invalid --to parameter \"xen:1\""),
    ] {
        let request = api::AddUnit { service: "db".into(), units: 1, to: Some(to.into()) };
        assert_eq!(s.ask(request).await.unwrap_err().error, words);
    }
    s.settle().await;
    assert_eq!(machines(&s), ["0", "1", "1/lxc/0", "2"], "db got a machine of its own: machine 1 has a container");
});

story!(constraints_reach_the_machine, s, {
    set_constraints(&s, None, "mem=1G cores=1").await;
    s.deploy("db", 1).await;
    set_constraints(&s, Some("db"), "mem=512M").await;
    add_unit_to(&s, "db", "lxc:1").await;
    add_machine(&s, None, Some("mem=")).await;
    s.settle().await;
    let hardware = |machine: &api::MachineStatus| machine.hardware.clone().unwrap_or_default();
    let status = s.status().await;
    assert_eq!(hardware(&status.machines["1"]), "arch=amd64 cpu-cores=1 mem=1024M");
    assert_eq!(hardware(&status.machines["1"].containers["1/lxc/0"]), "arch=amd64 cpu-cores=1 mem=512M");
    assert_eq!(hardware(&status.machines["2"]), "arch=amd64 cpu-cores=1 mem=8192M");
    let spec = s.provider.spec(&s.instance(1)).unwrap();
    assert_eq!((spec.memory, spec.cores), (Some(1024), Some(1)));

    let of_db = s.ask(api::GetConstraints { service: Some("db".into()) }).await.unwrap();
    assert_eq!(of_db.constraints.into_iter().collect::<Vec<_>>(), [("mem".to_owned(), "512M".to_owned())]);
    s.kill_controller().await;
    s.start_controller().await;
    let all = s.ask(api::GetConstraints { service: None }).await.unwrap();
    assert_eq!(all.constraints.keys().collect::<Vec<_>>(), ["cpu-cores", "mem"]);
    let lost = s.ask(api::GetConstraints { service: Some("no".into()) }).await.unwrap_err();
    assert_eq!(lost.error, "service \"no\" not found");
});

story!(constraints_that_do_nothing_are_told, s, {
    assert_eq!(
        set_constraints(&s, None, "mem=64G root-disk=8G tags=ssd arch=amd64").await,
        [
            "root-disk and tags: recorded only, this provider does not enforce it",
            "mem: this host has 8192M, that is all a machine can get",
        ]
    );
    assert!(set_constraints(&s, None, "").await.is_empty());
    let request = api::SetConstraints { service: None, constraints: "arch=arm64".into() };
    let refused = s.ask(request).await.unwrap_err();
    assert_eq!(refused.error, "cannot satisfy arch=arm64: this host is amd64");
    assert!(!refused.hints.is_empty());
    let machine = |constraints: &str| api::AddMachine {
        count: 1,
        series: None,
        constraints: Some(constraints.into()),
        placement: None,
        name: None,
    };
    let refused = s.ask(machine("container=lxc")).await.unwrap_err();
    assert_eq!(refused.error, "container constraint \"lxc\" not allowed when adding a machine");
    let notes = s.ask(machine("cores=9 container=none")).await.unwrap().notes;
    assert_eq!(notes, ["created machine 1", "cpu-cores: this host has 4, that is all a machine can get"]);
});

story!(a_machine_whose_name_does_not_fit_fails_once_and_can_be_destroyed, s, {
    s.kill_controller().await;
    s.prefix = format!("me-{}-", "x".repeat(50));
    s.retry_hooks = Some(1);
    s.start_controller().await;
    // `machine-1` just fits, `machine-1-lxc-0` does not.
    add_machine(&s, None, None).await;
    add_machine(&s, Some("lxc:1"), None).await;
    s.settle().await;
    let status = s.status().await;
    assert_eq!(status.machines["1"].agent_state.as_deref(), Some("started"));
    let container = &status.machines["1"].containers["1/lxc/0"];
    assert_eq!(container.agent_state.as_deref(), Some("error"));
    let words = container.agent_state_info.as_deref().unwrap_or_default();
    assert!(words.starts_with("the hypervisor takes no instance name") && words.contains("at most 63"), "{words}");
    let again = || s.journal.entries().iter().filter(|e| matches!(e.event, Event::MachineRetried { .. })).count();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(again(), 0, "no time changes a name");
    s.destroy_machine("1/lxc/0", true).await;
    s.destroy_machine("1", true).await;
    s.settle().await;
    assert_eq!(machines(&s), ["0"]);
});
