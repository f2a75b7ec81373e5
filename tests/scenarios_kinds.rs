//! Machines of several kinds in one environment, told to a real controller on the simulated provider.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use encanto::api::backend::Backend;
use encanto::api::{self, Done, MachineStatus, Refusal};
use encanto::model::MachineId;
use encanto::provider::{Foreign, InstanceState};
use support::abilities::abilities;
use support::scenario::{Scenario, story};

async fn add_machine(s: &Scenario, placement: Option<&str>, constraints: Option<&str>) -> Result<Done, Refusal> {
    let (placement, constraints) = (placement.map(str::to_owned), constraints.map(str::to_owned));
    s.ask(api::AddMachine { count: 1, series: None, constraints, placement, name: None }).await
}

async fn add_unit(s: &Scenario, to: Option<&str>) -> Result<Done, Refusal> {
    s.ask(api::AddUnit { service: "db".into(), units: 1, to: to.map(str::to_owned) }).await
}

async fn set_constraints(s: &Scenario, service: Option<&str>, constraints: &str) -> Result<Done, Refusal> {
    s.ask(api::SetConstraints { service: service.map(str::to_owned), constraints: constraints.into() }).await
}

/// What the provider was asked to make.
fn made(s: &Scenario, machine: u32) -> String {
    s.provider.spec(&s.instance(machine)).and_then(|spec| spec.kind).unwrap_or_default()
}

async fn machine(s: &Scenario, id: &str) -> MachineStatus {
    s.status().await.machines[id].clone()
}

/// Waits until machine 1 is seen so.
async fn until(s: &Scenario, holds: impl Fn(&MachineStatus) -> bool) {
    let comes = async {
        let ledger = s.ledger();
        let mut changes = ledger.changes();
        while !holds(&machine(s, "1").await) {
            changes.changed().await.unwrap();
        }
    };
    let came = tokio::time::timeout(std::time::Duration::from_secs(20), comes).await;
    assert!(came.is_ok(), "{:#?}", machine(s, "1").await);
}

story!(a_word_or_a_constraint_says_of_what_kind_a_machine_is, s, {
    add_machine(&s, None, None).await.unwrap();
    add_machine(&s, Some("kvm"), None).await.unwrap();
    add_machine(&s, Some("lxc"), Some("mem=1G")).await.unwrap();
    add_machine(&s, None, Some("virt-type=libvirt-lxc")).await.unwrap();
    add_machine(&s, Some("lxc"), Some("virt-type=libvirt-lxc")).await.unwrap();
    add_machine(&s, Some("lxc:2"), None).await.unwrap();
    s.settle().await;
    assert_eq!([1, 2, 3, 4, 5].map(|id| made(&s, id)), ["lxc", "kvm", "lxc", "libvirt-lxc", "libvirt-lxc"]);
    let plain = machine(&s, "1").await;
    assert_eq!(plain.virt_type.as_deref(), Some("lxc"));
    assert_eq!(plain.hardware.as_deref(), Some("arch=amd64 cpu-cores=4 mem=8192M"), "nothing is said of the default");
    let virtual_one = machine(&s, "2").await;
    assert_eq!(virtual_one.virt_type.as_deref(), Some("kvm"));
    assert_eq!(virtual_one.hardware.as_deref(), Some("arch=amd64 cpu-cores=4 mem=8192M virt-type=kvm"));
    assert_eq!(virtual_one.containers["2/lxc/0"].virt_type.as_deref(), Some("lxc"), "beside a machine of any kind");
    assert_eq!(machine(&s, "0").await.virt_type, None);
});

story!(units_go_onto_machines_of_the_kind_that_is_asked_for, s, {
    set_constraints(&s, None, "virt-type=libvirt-lxc").await.unwrap();
    s.deploy("db", 1).await;
    set_constraints(&s, Some("db"), "container=kvm mem=1G").await.unwrap();
    add_unit(&s, None).await.unwrap();
    add_unit(&s, Some("lxc")).await.unwrap();
    add_unit(&s, Some("lxc:2")).await.unwrap();
    s.settle().await;
    assert_eq!([1, 2, 3].map(|id| made(&s, id)), ["libvirt-lxc", "kvm", "lxc"]);
    assert_eq!(machine(&s, "2").await.containers["2/lxc/0"].virt_type.as_deref(), Some("lxc"));
    let spec = s.provider.spec(&s.instance(3)).unwrap();
    assert_eq!(spec.memory, Some(1024), "`--to` says nothing of what else is said");
    s.expect_status("db/3", "started", "active").await;
});

story!(an_idle_machine_of_another_kind_is_left_alone, s, {
    add_machine(&s, Some("kvm"), None).await.unwrap();
    add_machine(&s, None, None).await.unwrap();
    s.deploy("db", 1).await;
    set_constraints(&s, Some("db"), "container=kvm").await.unwrap();
    add_unit(&s, None).await.unwrap();
    add_unit(&s, None).await.unwrap();
    s.settle().await;
    let on = |unit: &str| s.model().units[&unit.parse().unwrap()].machine.to_string();
    assert_eq!(["db/0", "db/1", "db/2"].map(on), ["2", "1", "3"]);
    assert_eq!(made(&s, 3), "kvm");
});

story!(kinds_with_different_images_have_layers_of_their_own, s, {
    s.deploy("prepared", 1).await;
    set_constraints(&s, Some("prepared"), "virt-type=kvm").await.unwrap();
    s.add_unit("prepared").await;
    s.add_unit("prepared").await;
    set_constraints(&s, Some("prepared"), "virt-type=libvirt-lxc").await.unwrap();
    s.add_unit("prepared").await;
    s.settle().await;
    assert_eq!(s.begun_of("build").len(), 2, "one for both kinds of containers, one for virtual machines");
    for unit in 0..4 {
        s.expect_status(&format!("prepared/{unit}"), "started", "active").await;
    }
    let layers = |machine| s.provider.spec(&s.instance(machine)).unwrap().layers;
    assert!(layers(1) == layers(4) && layers(2) == layers(3) && layers(1) != layers(2));
});

story!(what_cannot_be_made_is_refused_at_once_and_changes_nothing, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let entries = s.journal.entries().len();
    for (placement, constraints, words) in [
        (Some("xen"), None, "malformed container argument \"xen\""),
        (Some("kvm:1"), None, "cannot put a virtual machine on machine 1"),
        (None, Some("virt-type=xen"), "there is no kind of machines \"xen\" here"),
        (None, Some("container=kvm"), "container constraint \"kvm\" not allowed when adding a machine"),
        (Some("kvm"), Some("virt-type=lxc"), "cannot satisfy virt-type=lxc with \"kvm\""),
        (None, Some("virt-type=K"), "bad \"virt-type\" constraint: invalid virt-type \"K\""),
    ] {
        let refused = add_machine(&s, placement, constraints).await.unwrap_err();
        assert_eq!(refused.error, words);
        assert!(!refused.hints.is_empty(), "{words}");
    }
    for (to, words) in
        [("kvm:1", "cannot put a virtual machine on machine 1"), ("kvm:", "invalid --to parameter \"kvm:\"")]
    {
        assert_eq!(add_unit(&s, Some(to)).await.unwrap_err().error, words);
    }
    for (constraints, words) in [
        ("virt-type=kwm", "there is no kind of machines \"kwm\" here"),
        ("container=xen", "bad \"container\" constraint: invalid container type \"xen\""),
        ("container=lxc virt-type=kvm", "cannot satisfy container=lxc with virt-type=kvm"),
    ] {
        for service in [None, Some("db")] {
            let refused = set_constraints(&s, service, constraints).await.unwrap_err();
            assert_eq!(refused.error, words);
            assert!(!refused.hints.is_empty(), "{words}");
        }
    }
    assert_eq!(set_constraints(&s, None, "virt-type=kwm").await.unwrap_err().hints, ["did you mean `kvm`?"]);
    assert_eq!(s.journal.entries().len(), entries);
});

story!(what_this_build_lacks_is_told_by_every_command, s, {
    set_constraints(&s, None, "virt-type=kvm").await.unwrap();
    s.kill_controller().await;
    s.provider.lack_kind("kvm", "this encanto was built without libvirt");
    s.start_controller().await;
    let words = "no machine of kind \"kvm\" can be made here: this encanto was built without libvirt";
    assert_eq!(add_machine(&s, None, None).await.unwrap_err().error, words, "what was said before");
    assert_eq!(s.try_deploy("db", "db", 1).await.unwrap_err().error, words);
    assert_eq!(set_constraints(&s, None, "container=kvm").await.unwrap_err().error, words);
    let refused = add_machine(&s, Some("kvm"), None).await.unwrap_err();
    assert_eq!(
        (refused.error.as_str(), refused.hints.as_slice()),
        (words, &["kinds: lxc, libvirt-lxc".to_owned()][..])
    );
    set_constraints(&s, None, "").await.unwrap();
    s.deploy("db", 1).await;
    assert_eq!(add_unit(&s, Some("kvm")).await.unwrap_err().error, words);
    s.settle().await;
    assert_eq!(s.machine_numbers(), [1]);
});

story!(machines_stay_what_they_are_when_the_default_changes, s, {
    add_machine(&s, None, None).await.unwrap();
    s.settle().await;
    s.provider.hold("create");
    add_machine(&s, None, None).await.unwrap();
    s.kill_controller().await;
    s.provider.let_go("create");
    s.provider.prefer_kind("kvm");
    s.start_controller().await;
    add_machine(&s, None, None).await.unwrap();
    s.settle().await;
    assert_eq!([1, 2, 3].map(|id| made(&s, id)), ["lxc", "lxc", "kvm"]);
    let status = s.status().await;
    let told = ["1", "2", "3"].map(|id| status.machines[id].hardware.clone().unwrap_or_default());
    assert!(told[0].ends_with(" virt-type=lxc") && told[1].ends_with(" virt-type=lxc"), "{told:?}");
    assert!(!told[2].contains("virt-type"), "{told:?}");
});

story!(a_machine_says_what_is_made_of_it, s, {
    s.provider.hold("create");
    add_machine(&s, Some("kvm"), None).await.unwrap();
    until(&s, |machine| machine.agent_state_info.as_deref() == Some("creating the virtual machine")).await;
    s.provider.let_go("create");
    s.settle().await;
    s.provider.vanish(&s.instance(1));
    // Whether it was tried to start it before that was seen does not matter here.
    until(&s, |machine| machine.instance_state.as_deref() == Some("missing")).await;
    let problems = s.ask(api::Check {}).await.unwrap().problems;
    assert_eq!(problems, ["machine 1 has lost its virtual machine: `encanto destroy-machine 1 --force`"]);
    s.destroy_machine("1", true).await;
    s.settle().await;
});

story!(what_a_kind_lacks_is_told_once_by_a_command_and_by_status, s, {
    let words = "a real one is privileged: root in it is root on its host";
    let note = format!("libvirt-lxc: {words}");
    assert_eq!(s.status().await.cautions.len(), 0);
    let first = add_machine(&s, Some("libvirt-lxc"), None).await.unwrap().notes;
    assert_eq!(first, ["created machine 1".to_owned(), note]);
    assert_eq!(add_machine(&s, Some("libvirt-lxc"), None).await.unwrap().notes, ["created machine 2"]);
    assert_eq!(add_machine(&s, Some("kvm"), None).await.unwrap().notes, ["created machine 3"]);
    s.settle().await;
    let status = s.status().await;
    assert_eq!(status.cautions.into_iter().collect::<Vec<_>>(), [("libvirt-lxc".to_owned(), words.to_owned())]);
    s.deploy("db", 1).await;
    s.settle().await;
    let shown = s.ask(api::Status { patterns: vec!["db".into()] }).await.unwrap();
    assert!(shown.cautions.is_empty(), "of what is shown only");
});

story!(what_is_found_out_of_a_kind_by_using_it_is_told_too, s, {
    s.provider.hold("create");
    assert_eq!(add_machine(&s, Some("kvm"), None).await.unwrap().notes, ["created machine 1"]);
    s.provider.emulate();
    s.provider.let_go("create");
    s.settle().await;
    let words = "a real one is emulated here, and slow";
    let told = |model: &encanto::model::Model| model.kinds.get("kvm").and_then(|kind| kind.caution.clone());
    s.until("it is told", |model| told(model).as_deref() == Some(words)).await;
    assert_eq!(s.status().await.cautions.into_iter().collect::<Vec<_>>(), [("kvm".to_owned(), words.to_owned())]);
});

/// Does what the verb of `encanto machine` does with a machine.
async fn done(s: &Scenario, verb: &str, id: u32) -> Result<(), Refusal> {
    let (machine, machines) = (id.to_string(), vec![id.to_string()]);
    let snapshot = "monday".to_owned();
    match verb {
        "list" => s.ask(api::ListMachines {}).await.map(drop),
        "stop" => s.ask(api::StopMachine { machines }).await.map(drop),
        "start" => s.ask(api::StartMachine { machines }).await.map(drop),
        "restart" => s.ask(api::RestartMachine { machines }).await.map(drop),
        "console" => s.backend().console(MachineId::new(id), (80, 24)).await.map(drop),
        "clone" => s.ask(api::CloneMachine { machine, count: 1, name: None, constraints: None }).await.map(drop),
        "snapshot" => s.ask(api::TakeSnapshot { machine, name: Some(snapshot) }).await.map(drop),
        "restore" => s.ask(api::RestoreMachine { machine, snapshot }).await.map(drop),
        other => panic!("{other}"),
    }
}

story!(what_the_documents_say_can_be_done_can_and_nothing_else, s, {
    for kind in ["lxc", "libvirt-lxc", "kvm"] {
        add_machine(&s, Some(kind), None).await.unwrap();
    }
    let (series, state) = (Some("bookworm".to_owned()), InstanceState::Running);
    s.provider.plant(Foreign { kind: "lxc".into(), name: "web".into(), state, series, obstacle: None });
    s.ask(api::AdoptMachine { origin: Some("web".into()), ..Default::default() }).await.unwrap();
    s.settle().await;
    for (verb, column, can) in abilities() {
        let id = ["lxc", "libvirt-lxc", "kvm", "adopted"].iter().position(|known| *known == column).unwrap() + 1;
        let answer = done(&s, &verb, u32::try_from(id).unwrap()).await;
        assert_eq!(answer.is_ok(), can, "machine {verb} on {column}: {answer:?}");
        s.settle().await;
    }
});
