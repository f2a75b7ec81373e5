//! Machines, the containers on them and their constraints: the rules, on the pure core.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

use std::collections::BTreeSet;

use encanto::model::*;
use encanto::plan::patience;
use encanto::plan::provision::{self, MachineStep};
use encanto::plan::settled::{self, Condition, Target, Verdict};
use indexmap::IndexMap;

struct World {
    model: Model,
}

impl World {
    fn new() -> World {
        let mut world = World { model: Model::default() };
        let (name, series) = ("test".parse().unwrap(), "bookworm".to_owned());
        world.change(Change::CreateEnvironment { name, series: series.clone() }).unwrap();
        let (address, hardware) = ("10.0.0.1".parse().unwrap(), HardwareFacts::default());
        world.change(Change::HostFound { series, address, hardware }).unwrap();
        world
    }

    fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        self.model.change(change, 1)?;
        assert_eq!(check::inconsistencies(&self.model), Vec::<String>::new());
        Ok(())
    }

    /// Machines are made and destroyed as long as one is due.
    fn work_to_the_end(&mut self) {
        let due = |model: &Model| model.machines.keys().find_map(|id| Some((*id, provision::next(model, *id, None)?)));
        while let Some((machine, step)) = due(&self.model) {
            let change = match step {
                MachineStep::Create { .. } | MachineStep::Adopt { .. } => Change::MachineProvisioned {
                    machine,
                    instance: machine.tag(),
                    address: "10.0.0.2".parse().unwrap(),
                    hardware: HardwareFacts::default(),
                    prepared: None,
                },
                MachineStep::Destroy { .. } | MachineStep::Release { .. } => Change::MachineGone { machine },
                other => panic!("{other:?} is nobody's wish here"),
            };
            self.change(change).unwrap();
        }
    }
}

fn deployment(service: &ServiceName, units: u32) -> Change {
    let charm = CharmMeta {
        name: "db".parse().unwrap(),
        summary: String::new(),
        description: String::new(),
        series: vec!["bookworm".into()],
        subordinate: false,
        provides: IndexMap::new(),
        requires: IndexMap::new(),
        peers: IndexMap::new(),
        config: IndexMap::new(),
        hooks: BTreeSet::new(),
        actions: IndexMap::new(),
        prepares: false,
    };
    Change::Deploy(Box::new(Deployment {
        service: service.clone(),
        charm,
        digest: "db".into(),
        units,
        placement: Placement::Automatic,
        config: IndexMap::new(),
        generated: IndexMap::new(),
        constraints: Constraints::default(),
        expose: false,
    }))
}

#[test]
fn a_container_has_a_number_of_its_own_on_its_machine() {
    let mut world = World::new();
    let db: ServiceName = "db".parse().unwrap();
    world.change(deployment(&db, 1)).unwrap();
    let one = MachineId::new(1);
    let add = |machine| Change::AddContainers { machine, count: 1, constraints: Constraints::default(), name: None };
    let destroy = |machines: &[MachineId], force| Change::DestroyMachines { machines: machines.to_vec(), force };
    world.change(add(one)).unwrap();
    world.change(add(one)).unwrap();
    world.change(add(MachineId::HOST)).unwrap();
    let ids: Vec<String> = world.model.machines.keys().map(ToString::to_string).collect();
    assert_eq!(ids, ["0", "0/lxc/0", "1", "1/lxc/0", "1/lxc/1"]);

    let words = |refused: Result<(), ChangeError>| refused.unwrap_err().to_string();
    assert_eq!(
        words(world.change(add(one.container(0)))),
        "cannot add a container to machine 1/lxc/0: it is a container itself, and a container cannot hold containers"
    );
    assert_eq!(words(world.change(add(MachineId::new(7)))), "machine 7 not found");
    assert_eq!(
        words(world.change(destroy(&[one], false))),
        "no machines were destroyed: machine 1 is hosting containers \"1/lxc/0,1/lxc/1\""
    );
    world.change(destroy(&[one.container(0)], false)).unwrap();
    assert_eq!(provision::next(&world.model, one.container(0), None), Some(MachineStep::Destroy { instance: None }));
    world.work_to_the_end();
    world.change(add(one)).unwrap();
    assert!(world.model.machines.contains_key(&one.container(2)), "numbers are not used again");

    // A machine goes after its containers; what is going already holds nothing.
    world.change(Change::DestroyUnits { units: vec!["db/0".parse().unwrap()], force: true }).unwrap();
    world.change(destroy(&[one, one.container(1), one.container(2)], false)).unwrap();
    assert_eq!(provision::next(&world.model, one, None), None, "its containers come first");
    let progress = settled::progress(&world.model, &Observed::default(), &[Target::Machine(one)], Condition::Gone);
    assert_eq!(progress[0].message, "waits for its containers 1/lxc/1, 1/lxc/2");
    assert_eq!(words(world.change(add(one))), "cannot add a container to machine 1: machine is not alive");
    world.work_to_the_end();
    let ids: Vec<String> = world.model.machines.keys().map(ToString::to_string).collect();
    assert_eq!(ids, ["0", "0/lxc/0"]);
}

#[test]
fn a_machine_that_goes_by_force_takes_what_is_on_its_containers() {
    let mut world = World::new();
    let db: ServiceName = "db".parse().unwrap();
    world.change(deployment(&db, 1)).unwrap();
    let placement = Placement::Inside(MachineId::new(1));
    world.change(Change::AddUnits { service: db, count: 1, placement }).unwrap();
    world.work_to_the_end();
    assert_eq!(world.model.units[&"db/1".parse().unwrap()].machine, MachineId::new(1).container(0));
    world.change(Change::DestroyMachines { machines: vec![MachineId::new(1)], force: true }).unwrap();
    world.work_to_the_end();
    assert!(world.model.units.is_empty());
    assert_eq!(world.model.machines.len(), 1);
}

#[test]
fn a_machine_with_containers_is_not_clean_and_empty() {
    let mut world = World::new();
    let machine = |count| Change::AddMachines { count, series: None, constraints: Constraints::default(), name: None };
    world.change(machine(2)).unwrap();
    let one = MachineId::new(1);
    world
        .change(Change::AddContainers { machine: one, count: 1, constraints: Constraints::default(), name: None })
        .unwrap();
    world.change(deployment(&"db".parse().unwrap(), 2)).unwrap();
    let hosts: Vec<MachineId> = world.model.units.values().map(|unit| unit.machine).collect();
    assert_eq!(hosts, [MachineId::new(2), MachineId::new(3)]);
}

#[test]
fn constraints_are_fixed_when_a_machine_is_added() {
    let mut world = World::new();
    let (db, read) = ("db".parse::<ServiceName>().unwrap(), |text: &str| text.parse::<Constraints>().unwrap());
    let set = |service: Option<&ServiceName>, text: &str| Change::SetConstraints {
        service: service.cloned(),
        constraints: read(text),
    };
    let add = || Change::AddUnits { service: "db".parse().unwrap(), count: 1, placement: Placement::Automatic };
    world.change(deployment(&db, 1)).unwrap();
    world.change(set(None, "mem=1G cpu-cores=2")).unwrap();
    world.change(add()).unwrap();
    world.change(set(Some(&db), "mem=512M")).unwrap();
    world.change(add()).unwrap();
    world.change(set(Some(&db), "mem= cpu-cores=1 tags=a")).unwrap();
    world.change(add()).unwrap();
    let made: Vec<String> = world.model.machines.values().skip(1).map(|m| m.constraints.to_string()).collect();
    assert_eq!(made, ["", "cpu-cores=2 mem=1024M", "cpu-cores=2 mem=512M", "cpu-cores=1 tags=a"]);

    // A clean machine is taken if it has the limits that a new one would have.
    world.change(Change::AddMachines { count: 1, series: None, constraints: read("mem=0"), name: None }).unwrap();
    world
        .change(Change::AddMachines { count: 1, series: None, constraints: read("cores=1 mem="), name: None })
        .unwrap();
    world.change(add()).unwrap();
    assert_eq!(world.model.units[&"db/4".parse().unwrap()].machine, MachineId::new(6));

    let words = |refused: Result<(), ChangeError>| refused.unwrap_err().to_string();
    assert_eq!(words(world.change(set(Some(&"no".parse().unwrap()), "mem=1G"))), "service \"no\" not found");
    let hardware = HardwareFacts { arch: "amd64".into(), cores: 2, mem: 1024 };
    let address = "10.0.0.1".parse().unwrap();
    world.change(Change::HostFound { series: "bookworm".into(), address, hardware }).unwrap();
    assert_eq!(words(world.change(set(None, "arch=arm64"))), "cannot satisfy arch=arm64: this host is amd64");
    world.change(set(None, "arch=amd64 mem=64G")).unwrap();
    world.work_to_the_end();
    world.change(Change::DestroyServices { services: vec![db.clone()], force: false }).unwrap();
    assert_eq!(words(world.change(set(Some(&db), ""))), "cannot set constraints: service \"db\" is not alive");
}

fn adoption(name: &str, series: &str, constraints: &str) -> Change {
    let origin = match name.strip_prefix('/') {
        Some(_) => Origin::Folder(name.into()),
        None => Origin::Named(name.into()),
    };
    let adopted = Adopted { kind: "lxc".into(), origin };
    let constraints = constraints.parse().unwrap();
    Change::AdoptMachine(Box::new(Adoption { adopted, series: series.into(), name: None, constraints }))
}

#[test]
fn what_is_adopted_is_one_machine_that_nobody_gets_by_himself() {
    let mut world = World::new();
    world.change(Change::SetConstraints { service: None, constraints: "mem=1G".parse().unwrap() }).unwrap();
    world.change(adoption("web", "bookworm", "")).unwrap();
    world.change(adoption("/srv/web", "trixie", "cpu-cores=2")).unwrap();
    let words = |refused: Result<(), ChangeError>| refused.unwrap_err().to_string();
    assert_eq!(words(world.change(adoption("web", "bookworm", ""))), "cannot adopt lxc web: it is machine 1 already");
    let (one, two) = (MachineId::new(1), MachineId::new(2));
    // What is there has limits of its own; a folder gets a container as any other.
    let limits: Vec<String> = world.model.machines.values().skip(1).map(|m| m.constraints.to_string()).collect();
    assert_eq!(limits, ["virt-type=lxc", "cpu-cores=2 mem=1024M virt-type=lxc"]);
    let db: ServiceName = "db".parse().unwrap();
    world.change(deployment(&db, 1)).unwrap();
    assert_eq!(world.model.units[&"db/0".parse().unwrap()].machine, MachineId::new(3));
    let on = |machine| Change::AddUnits { service: db.clone(), count: 1, placement: Placement::On(machine) };
    world.change(on(one)).unwrap();
    let refused = words(world.change(on(two)));
    assert_eq!(refused, "cannot assign unit \"db/2\" to machine 2: series does not match");
}

#[test]
fn what_is_adopted_is_released_and_never_destroyed() {
    let mut world = World::new();
    let db: ServiceName = "db".parse().unwrap();
    let (one, two) = (MachineId::new(1), MachineId::new(2));
    world.change(adoption("web", "bookworm", "")).unwrap();
    world.change(deployment(&db, 1)).unwrap();
    world.change(Change::AddUnits { service: db, count: 1, placement: Placement::On(one) }).unwrap();
    world.work_to_the_end();
    let words = |refused: Result<(), ChangeError>| refused.unwrap_err().to_string();
    let release = |machines: &[MachineId]| Change::ReleaseMachines { machines: machines.to_vec() };
    let destroy = |force| Change::DestroyMachines { machines: vec![one], force };
    assert_eq!(
        words(world.change(release(&[one, two, MachineId::HOST, MachineId::new(9)]))),
        "no machines were released: machine 1 has unit \"db/1\" assigned; machine 2 was not adopted: the environment \
         made it; machine 0 is required by the environment; machine 9 does not exist"
    );
    let not_ours = "machine 1 was adopted: it is lxc web, and not the environment's to destroy";
    assert_eq!(words(world.change(destroy(false))), format!("no machines were destroyed: {not_ours}"));
    world.change(destroy(true)).unwrap();
    let instance = Some("machine-1".to_owned());
    assert_eq!(provision::next(&world.model, one, None), Some(MachineStep::Release { instance }));
    world.work_to_the_end();
    // It can be adopted again, by another number; one that could not be made is released too.
    world.change(adoption("web", "bookworm", "")).unwrap();
    let three = MachineId::new(3);
    world.change(Change::MachineFailed { machine: three, message: "no address".into() }).unwrap();
    world.change(release(&[three])).unwrap();
    assert_eq!(provision::next(&world.model, three, None), Some(MachineStep::Release { instance: None }));
    world.work_to_the_end();
    assert_eq!(world.model.machines.len(), 2);
    world.change(adoption("web", "bookworm", "")).unwrap();
    world.work_to_the_end();
    let cloning = Cloning { from: MachineId::new(4), count: 1, constraints: Constraints::default(), name: None };
    assert_eq!(
        words(world.change(Change::Machine(MachineChange::Clone(cloning)))),
        "cannot clone machine 4: it was adopted, and its disk is not the environment's"
    );
}

#[test]
fn a_machine_that_is_asked_for_again_is_waited_for_until_the_third_failure() {
    let mut world = World::new();
    world.change(deployment(&"db".parse().unwrap(), 1)).unwrap();
    let machine = MachineId::new(1);
    world.change(Change::MachineFailed { machine, message: "no room".into() }).unwrap();
    let told = |failures: u32, retry_hooks: Option<i64>| {
        let mut observed = Observed { retry_hooks, ..Observed::default() };
        let mut trouble = None;
        for _ in 0..failures {
            trouble = Some(patience::failed(trouble.as_ref(), MachineWork::Create, 0, "no room".into()));
        }
        observed.troubles.extend(trouble.map(|trouble| (machine, trouble)));
        let progress = settled::progress(&world.model, &observed, &[Target::Machine(machine)], Condition::Active);
        (progress[0].message.clone(), progress[0].verdict)
    };
    assert_eq!(told(1, Some(5_000)), ("no room (is tried again after 5s)".into(), Verdict::Busy));
    assert_eq!(told(3, Some(5_000)), ("no room (failed 3 times, is tried again after 20s)".into(), Verdict::Failed));
    assert_eq!(told(1, None), ("no room".into(), Verdict::Failed));
    // Of one whose name does not fit there is no trouble: it is not tried again.
    assert_eq!(told(0, Some(5_000)), ("no room".into(), Verdict::Failed));
}
