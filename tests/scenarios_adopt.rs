//! Machines that were on the host before: taken over and given back, told to a real controller on the simulated provider.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use encanto::api::backend::Backend;
use encanto::api::{self, Refusal};
use encanto::model::{Event, Origin};
use encanto::provider::{Foreign, InstanceState, Provider, WriteOptions};
use support::scenario::{Scenario, story};

use InstanceState::{Running, Stopped};

fn plant(s: &Scenario, kind: &str, name: &str, state: InstanceState) {
    let series = Some("bookworm".to_owned());
    s.provider.plant(Foreign { kind: kind.into(), name: name.into(), state, series, obstacle: None });
}

fn named(name: &str) -> api::AdoptMachine {
    api::AdoptMachine { origin: Some(name.into()), ..Default::default() }
}

fn folder(path: &str) -> api::AdoptMachine {
    api::AdoptMachine { filesystem: Some(path.into()), ..Default::default() }
}

async fn adopt(s: &Scenario, name: &str) -> Vec<String> {
    s.ask(named(name)).await.unwrap().notes
}

async fn release(s: &Scenario, machine: &str) -> Result<api::Done, Refusal> {
    s.ask(api::ReleaseMachine { machines: vec![machine.into()] }).await
}

async fn others(s: &Scenario) -> Vec<String> {
    let all = s.ask(api::ForeignMachines {}).await.unwrap().machines;
    all.iter().map(|machine| format!("{} {} {}", machine.kind, machine.name, machine.state)).collect()
}

fn found(s: &Scenario, name: &str) -> (InstanceState, Vec<String>) {
    s.provider.planted("lxc", &Origin::Named(name.into())).expect("it is on the host still")
}

fn calls(s: &Scenario, kind: &str) -> usize {
    s.provider.calls().iter().filter(|call| call.kind == kind).count()
}

story!(a_container_that_was_there_hosts_a_unit_and_is_given_back, s, {
    plant(&s, "lxc", "web", Stopped);
    plant(&s, "kvm", "desktop", Running);
    assert_eq!(others(&s).await, ["kvm desktop running", "lxc web stopped"]);
    let done = s.ask(named("web")).await.unwrap();
    assert_eq!(done.notes, ["adopting lxc web as machine 1", "machine 1 is called web"]);
    assert_eq!(done.targets, ["1"]);
    s.settle().await;
    let machine = s.status().await.machines["1"].clone();
    assert_eq!(machine.agent_state.as_deref(), Some("started"));
    assert_eq!((machine.adopted.as_deref(), machine.series.as_str()), (Some("lxc web"), "bookworm"));
    assert_eq!(others(&s).await, ["kvm desktop running"], "what is a machine is not foreign any more");
    assert_eq!(found(&s, "web").0, Running, "it was started");

    // What its charm needs is installed in it: it has no layers.
    s.deploy_to("prepared", "1").await;
    s.settle().await;
    s.expect_status("prepared/0", "started", "active").await;
    assert_eq!((calls(&s, "create"), calls(&s, "seal")), (0, 0));
    s.provider.write_file(&s.instance(1), "/srv/kept", b"1", &WriteOptions::default()).await.unwrap();

    let refused = release(&s, "1").await.unwrap_err();
    assert_eq!(refused.error, "no machines were released: machine 1 has unit \"prepared/0\" assigned");
    assert!(refused.hints[0].starts_with("destroy its units first"), "{refused:?}");
    s.destroy_unit("prepared/0", false).await;
    s.settle().await;
    release(&s, "1").await.unwrap();
    s.settle().await;
    assert_eq!(s.machine_numbers(), [0u32; 0]);
    let (state, files) = found(&s, "web");
    assert!(state == Running && files.contains(&"/srv/kept".to_owned()), "{state:?} {files:?}");
    assert_eq!(others(&s).await, ["kvm desktop running", "lxc web running"]);
    assert_eq!(calls(&s, "destroy"), 0);
});

story!(a_folder_becomes_a_container_of_its_own, s, {
    s.provider.plant_folder("/srv/root", "bookworm");
    let asked =
        api::AdoptMachine { name: Some("shop".into()), ram: Some(512), vcpu: Some(1), ..folder("/srv/./root/") };
    let notes = s.ask(asked).await.unwrap().notes;
    assert_eq!(notes, ["adopting folder /srv/root as machine 1", "machine 1 is called shop"]);
    s.settle().await;
    let spec = s.provider.spec(&s.instance(1)).unwrap();
    assert_eq!((spec.kind.as_deref(), spec.memory, spec.cores), (Some("lxc"), Some(512), Some(1)));
    assert_eq!(s.model().machine_named(&"shop".parse().unwrap()).unwrap().id.to_string(), "1");
    let again = s.ask(folder("/srv/root")).await.unwrap_err();
    assert_eq!(again.error, "cannot adopt folder /srv/root: it is machine 1 already");
    s.provider.write_file(&s.instance(1), "/srv/kept", b"1", &WriteOptions::default()).await.unwrap();
    release(&s, "1").await.unwrap();
    s.settle().await;
    let left = s.provider.planted("lxc", &Origin::Folder("/srv/root".into()));
    assert_eq!(left, Some((Stopped, vec!["/srv/kept".to_owned()])));
});

story!(what_cannot_be_adopted_is_told_and_nothing_is_changed, s, {
    plant(&s, "lxc", "web", Running);
    plant(&s, "kvm", "web", Running);
    plant(&s, "kvm", "mail", Running);
    s.provider.plant_folder("/srv/root", "bookworm");
    let other = |name: &str, series: Option<&str>, obstacle: Option<&str>| Foreign {
        kind: "kvm".into(),
        name: name.into(),
        state: Running,
        series: series.map(str::to_owned),
        obstacle: obstacle.map(str::to_owned),
    };
    s.provider.plant(other("mute", None, Some("it has no guest agent: install qemu-guest-agent in it")));
    s.provider.plant(other("odd", None, None));
    s.deploy("db", 1).await;
    s.settle().await;
    let before = s.journal.entries().len();
    let of_kind = |name: &str, kind: &str| api::AdoptMachine { kind: Some(kind.into()), ..named(name) };
    for (asked, error, hint) in [
        (named("wbe"), "there is no container or virtual machine \"wbe\" on this host", "did you mean `web`?"),
        (named("web"), "several are called \"web\": kvm, lxc", "encanto machine adopt web --kind kvm"),
        (
            of_kind("mail", "lxc"),
            "there is no lxc machine \"mail\" on this host",
            "encanto machine adopt mail --kind kvm",
        ),
        (of_kind("mail", "vbox"), "there is no kind of machines \"vbox\" here", "kinds: lxc, libvirt-lxc, kvm"),
        (named("mute"), "cannot adopt kvm mute: it has no guest agent", "install qemu-guest-agent in it"),
        (
            named("odd"),
            "cannot adopt kvm odd: its /etc/os-release does not say which release it is (VERSION_CODENAME)",
            "",
        ),
        (
            named("me-test-machine-1"),
            "cannot adopt me-test-machine-1: it is machine 1 already",
            "`encanto deploy CHARM --to 1` puts a unit on it",
        ),
        (folder("/srv/none"), "there is no folder /srv/none on this host", ""),
        (folder("srv"), "\"srv\" is no absolute path", ""),
        (folder("/srv/../etc"), "\"/srv/../etc\" is no absolute path", ""),
        (
            api::AdoptMachine { kind: Some("kvm".into()), ..folder("/srv/root") },
            "a folder becomes a machine of kind lxc, not kvm",
            "encanto machine adopt --filesystem /srv/root",
        ),
        (
            api::AdoptMachine { ram: Some(64), ..named("mail") },
            "--ram and --vcpu are for a folder: what is there already keeps the limits it has",
            "encanto machine adopt mail",
        ),
        (api::AdoptMachine::default(), "no machine specified", "`encanto machine list --all` shows what there is"),
    ] {
        let refused = s.ask(asked).await.unwrap_err();
        assert_eq!((refused.error.as_str(), refused.hints.first().map_or("", |hint| hint.as_str())), (error, hint));
    }
    assert_eq!(s.journal.entries().len(), before);
    s.ask(of_kind("web", "lxc")).await.unwrap();
    s.settle().await;
    let again = s.ask(of_kind("web", "lxc")).await.unwrap_err();
    assert_eq!(again.error, "cannot adopt lxc web: it is machine 2 already");
    assert_eq!(adopt(&s, "web").await, ["adopting kvm web as machine 3"], "the other one of that name");
    s.settle().await;
    assert_eq!(s.ask(named("web")).await.unwrap_err().error, "cannot adopt lxc web: it is machine 2 already");
    assert_eq!(release(&s, "1").await.unwrap_err().hints, ["`encanto destroy-machine 1` removes it"]);
    let host = release(&s, "0").await.unwrap_err();
    assert_eq!(host.error, "no machines were released: machine 0 is required by the environment");
});

story!(what_is_somebodys_is_not_destroyed_even_by_force, s, {
    plant(&s, "lxc", "web", Running);
    adopt(&s, "web").await;
    s.settle().await;
    s.deploy_to("db", "1").await;
    s.settle().await;
    let request = |force| api::DestroyMachine { machines: vec!["1".into()], force };
    let refused = s.ask(request(false)).await.unwrap_err();
    assert_eq!(
        refused.error,
        "no machines were destroyed: machine 1 was adopted: it is lxc web, and not the environment's to destroy"
    );
    assert_eq!(refused.hints, ["`encanto machine release 1` gives it back as it was found"]);
    s.ask(request(true)).await.unwrap();
    s.settle().await;
    assert!(s.model().units.is_empty() && s.machine_numbers().is_empty());
    assert_eq!((found(&s, "web").0, calls(&s, "destroy")), (Running, 0));
});

story!(a_controller_that_is_killed_goes_on_adopting_and_releasing, s, {
    plant(&s, "lxc", "web", Stopped);
    s.provider.hold("adopt");
    adopt(&s, "web").await;
    s.until_observed("the adoption", |observed| !observed.machine_activity.is_empty()).await;
    s.kill_controller().await;
    s.provider.let_go("adopt");
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.status().await.machines["1"].agent_state.as_deref(), Some("started"));

    s.provider.hold("release");
    release(&s, "1").await.unwrap();
    s.until_observed("the release", |observed| !observed.machine_activity.is_empty()).await;
    let waits = s.status().await.machines["1"].clone();
    assert_eq!((waits.life.as_deref(), waits.agent_state_info.as_deref()), (Some("dying"), Some("giving it back")));
    s.kill_controller().await;
    s.provider.let_go("release");
    s.start_controller().await;
    s.settle().await;
    assert_eq!((s.machine_numbers().len(), found(&s, "web").0), (0, Running));
});

story!(what_fails_is_told_and_tried_again, s, {
    plant(&s, "lxc", "web", Running);
    s.provider.fail_next("adopt", "no address is left");
    adopt(&s, "web").await;
    s.settle().await;
    let machine = s.status().await.machines["1"].clone();
    assert_eq!(
        (machine.agent_state.as_deref(), machine.agent_state_info.as_deref()),
        (Some("error"), Some("no address is left"))
    );
    assert_eq!(
        s.backend().problems().await,
        ["machine 1 cannot be adopted: no address is left: `encanto destroy-machine 1 --force`"]
    );
    s.ask(api::RetryProvisioning { machines: vec!["1".into()] }).await.unwrap();
    s.settle().await;
    assert_eq!(s.status().await.machines["1"].agent_state.as_deref(), Some("started"));
    // One that could not be adopted can be let go of at once.
    plant(&s, "lxc", "shop", Running);
    s.provider.fail_next("adopt", "no address is left");
    adopt(&s, "shop").await;
    s.settle().await;
    release(&s, "2").await.unwrap();
    s.settle().await;
    assert_eq!((s.machine_numbers(), found(&s, "shop").0), (vec![1], Running));
});

story!(what_was_stopped_or_deleted_behind_our_back, s, {
    plant(&s, "lxc", "web", Running);
    adopt(&s, "web").await;
    s.settle().await;
    s.stop_instance(1);
    s.until_instance(1, "running", 1).await;
    s.provider.vanish(&s.instance(1));
    s.until_instance(1, "missing", 1).await;
    assert_eq!(others(&s).await, [""; 0]);
    release(&s, "1").await.unwrap();
    s.settle().await;
    assert!(s.machine_numbers().is_empty());
    assert_eq!(
        s.ask(named("web")).await.unwrap_err().error,
        "there is no container or virtual machine \"web\" on this host"
    );
});

story!(an_environment_goes_and_leaves_what_was_there, s, {
    plant(&s, "lxc", "web", Running);
    adopt(&s, "web").await;
    s.deploy("db", 1).await;
    s.settle().await;
    s.deploy_to("app", "1").await;
    s.settle().await;
    s.backend().destroy().await.unwrap();
    assert!(s.provider.list().await.unwrap().is_empty());
    assert_eq!(found(&s, "web").0, Running);
    s.kill_controller().await;
    s.journal = Default::default();
    s.start_controller().await;
});

story!(only_root_has_machines_adopted_where_they_are_real, s, {
    plant(&s, "lxc", "web", Running);
    s.kill_controller().await;
    s.kind = api::EnvironmentKind::Local;
    s.start_controller().await;
    let refused = s.ask(named("web")).await.unwrap_err();
    assert_eq!(refused.error, "only root can have a machine adopted: whoever commands it commands what is in it");
    assert_eq!(refused.hints, ["sudo encanto adopt-machine"]);
});

story!(what_machines_can_do_an_adopted_one_can_but_for_copies, s, {
    plant(&s, "lxc", "web", Running);
    adopt(&s, "web").await;
    s.settle().await;
    s.ask(api::StopMachine { machines: vec!["web".into()] }).await.unwrap();
    s.settle().await;
    let listed = s.ask(api::ListMachines {}).await.unwrap().machines[1].clone();
    assert_eq!((listed.name.as_deref(), listed.state.as_str()), (Some("web"), "stopped"), "by the name that it has");
    assert_eq!((listed.info.as_deref(), listed.snapshots), (Some("adopted: lxc web"), None));
    s.ask(api::StartMachine { machines: vec!["1".into()] }).await.unwrap();
    s.settle().await;
    let cloning = api::CloneMachine { machine: "1".into(), count: 1, name: None, constraints: None };
    let refused = s.ask(cloning).await.unwrap_err().error;
    assert_eq!(refused, "cannot clone machine 1: it was adopted, and its disk is not the environment's");
    let refused = s.ask(api::TakeSnapshot { machine: "1".into(), name: None }).await.unwrap_err().error;
    assert_eq!(refused, "cannot snapshot machine 1: it was adopted, and its disk is not the environment's");
    // One that was stopped by us is given back as it is.
    s.ask(api::StopMachine { machines: vec!["1".into()] }).await.unwrap();
    s.settle().await;
    s.ask(api::ReleaseMachine { machines: vec!["web".into()] }).await.unwrap();
    s.settle().await;
    assert_eq!((s.machine_numbers().len(), found(&s, "web").0), (0, Stopped));
});

story!(the_history_tells_whom_it_took, s, {
    plant(&s, "lxc", "web", Running);
    adopt(&s, "web").await;
    s.settle().await;
    release(&s, "1").await.unwrap();
    s.settle().await;
    let history = s.ask(api::History { lines: 10, ..Default::default() }).await.unwrap().entries;
    let effects: Vec<&str> = history.iter().flat_map(|entry| entry.effects.iter().map(String::as_str)).collect();
    assert!(
        effects.ends_with(&["machine 1 adopted: lxc web", "machine 1 called web", "machine 1 dying"]),
        "{effects:?}"
    );
    let log = s.ask(api::StatusLog { entity: "1".into(), lines: 10 }).await.unwrap().entries;
    assert_eq!((log[0].state.as_str(), log[0].message.as_str()), ("pending", "adopting lxc web"));
    assert!(s.journal.entries().iter().any(|entry| matches!(entry.event, Event::MachineRemoved { .. })));
});
