//! The pure core under random operators and random workers.
//!
//! Whatever is asked in whatever order, and however far the workers have come: the model stays consistent, a refused
//! change changes nothing, the journal replays to the same model, no hook guarantee is broken (an oracle that knows
//! nothing of `plan` watches), and after destroying everything nothing is left.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

use std::collections::{BTreeMap, BTreeSet};

use encanto::model::*;
use encanto::plan::hooks::{self, UnitStep};
use encanto::plan::provision::{self, MachineStep};
use indexmap::IndexMap;
use proptest::prelude::*;

fn charm(name: &str) -> CharmMeta {
    let endpoint =
        |interface: &str, scope| EndpointDecl { interface: interface.parse().unwrap(), scope, optional: false };
    let one =
        |name: &str, interface: &str| IndexMap::from([(name.parse().unwrap(), endpoint(interface, Scope::Global))]);
    let shared = |name: &str, interface: &str| (name.parse().unwrap(), endpoint(interface, Scope::Container));
    CharmMeta {
        name: name.parse().unwrap(),
        summary: String::new(),
        description: String::new(),
        series: vec!["bookworm".into()],
        subordinate: name == "log",
        provides: match name {
            "db" => one("db", "sql"),
            "log" => one("feed", "sql"),
            _ => one("website", "http"),
        },
        requires: match name {
            "app" => one("db", "sql"),
            "log" => IndexMap::from([shared("info", "juju-info"), shared("dir", "sql")]),
            _ => IndexMap::new(),
        },
        peers: one("cluster", "cluster"),
        config: IndexMap::new(),
        hooks: ["leader-elected", "leader-settings-changed"].map(String::from).into(),
        actions: BTreeSet::new(),
        prepares: name != "db",
    }
}

#[derive(Clone, Debug)]
enum Ask {
    Deploy(usize, u32),
    AddUnit(usize),
    AddMachine,
    /// On a machine picked by this number: alone, or with a unit of the service.
    AddContainer(usize, Option<usize>),
    /// Of a service, or of the whole environment.
    SetConstraints(Option<usize>, u64),
    Relate(usize, usize),
    /// Put a subordinate beside every unit of the service.
    Accompany(usize, usize),
    Unrelate(usize, bool),
    DestroyUnit(usize, bool),
    DestroyService(usize, bool),
    DestroyMachine(usize, bool),
    /// Let a worker do this many steps, picking by this number.
    Work(usize, u8),
    FailHook(usize),
    FailMachine(usize),
    Resolve(usize, bool),
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        2 => (0..6usize, 1..3u32).prop_map(|(s, n)| Ask::Deploy(s, n)),
        2 => (0..6usize).prop_map(Ask::AddUnit),
        1 => Just(Ask::AddMachine),
        2 => (any::<usize>(), any::<Option<u8>>()).prop_map(|(n, s)| Ask::AddContainer(n, s.map(usize::from))),
        1 => (any::<Option<u8>>(), 0..3u64).prop_map(|(s, mem)| Ask::SetConstraints(s.map(usize::from), mem * 64)),
        3 => (0..6usize, 0..6usize).prop_map(|(a, b)| Ask::Relate(a, b)),
        2 => (4..6usize, 0..6usize).prop_map(|(a, b)| Ask::Accompany(a, b)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, f)| Ask::Unrelate(n, f)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, f)| Ask::DestroyUnit(n, f)),
        1 => (0..6usize, any::<bool>()).prop_map(|(s, f)| Ask::DestroyService(s, f)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(n, f)| Ask::DestroyMachine(n, f)),
        10 => (any::<usize>(), 1..12u8).prop_map(|(n, times)| Ask::Work(n, times)),
        1 => any::<usize>().prop_map(Ask::FailHook),
        1 => any::<usize>().prop_map(Ask::FailMachine),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, retry)| Ask::Resolve(n, retry)),
    ]
}

/// The last two are subordinates.
const SERVICES: [&str; 6] = ["db", "db-b", "app", "app-b", "log", "log-b"];

/// Watches the hooks of each unit in each relation. Knows Juju's promises, and nothing of `plan`.
#[derive(Default)]
struct Oracle {
    unit_hooks: BTreeMap<UnitName, Vec<String>>,
    joined: BTreeMap<(UnitName, RelationId), BTreeSet<UnitName>>,
    /// Unit → (relation, remote): joined ran, changed must be next.
    awaits_changed: BTreeMap<UnitName, (RelationId, UnitName)>,
    broken: BTreeSet<(UnitName, RelationId)>,
    relations: BTreeMap<RelationId, Vec<RelationEndpoint>>,
    /// Unit → the principal of its container, which may be itself.
    homes: BTreeMap<UnitName, UnitName>,
}

impl Oracle {
    fn heard(&mut self, event: &Event) {
        match event {
            Event::RelationAdded { relation, endpoints } => {
                self.relations.insert(*relation, endpoints.clone());
            }
            Event::UnitAdded { unit, principal, .. } => {
                let home = principal.clone().unwrap_or_else(|| unit.clone());
                let alike = self.homes.iter().find(|(other, of)| other.service == unit.service && **of == home);
                assert!(alike.is_none(), "{unit} and {alike:?} have one principal");
                self.homes.insert(unit.clone(), home);
            }
            Event::UnitRemoved { unit, .. } => {
                self.homes.remove(unit);
                let orphans: Vec<_> = self.homes.iter().filter(|(_, home)| *home == unit).collect();
                assert!(orphans.is_empty(), "{unit} went before its subordinates {orphans:?}");
            }
            _ => {}
        }
    }

    /// A unit may know of `remote` in this relation.
    fn may_meet(&self, unit: &UnitName, relation: RelationId, remote: &UnitName) {
        let ends = &self.relations[&relation];
        assert!(unit != remote && ends.iter().any(|end| end.service == remote.service));
        if ends.iter().any(|end| end.scope == Scope::Container) {
            let homes = (self.homes.get(unit), self.homes.get(remote));
            assert!(homes.1.is_none() || homes.0 == homes.1, "{unit} has met {remote}, a stranger, in {relation}");
        }
    }

    fn ran(&mut self, unit: &UnitName, hook: &Hook) {
        let order = self.unit_hooks.entry(unit.clone()).or_default();
        let installed = order.iter().any(|name| name == "install");
        match hook {
            Hook::Prepare => assert!(!installed),
            Hook::Install => assert!(!installed, "{unit}: install twice"),
            Hook::Start => {
                assert!(installed && order.iter().any(|name| name == "config-changed"), "{unit}: start before config");
                assert!(!order.iter().any(|name| name == "start"), "{unit}: start twice");
            }
            Hook::Stop => assert!(order.iter().any(|name| name == "start"), "{unit}: stop before start"),
            _ => assert!(installed, "{unit}: {hook} before install"),
        }
        assert!(order.last().is_none_or(|last| last != "stop"), "{unit}: {hook} after stop");
        order.push(hook.to_string());
        if let Some((relation, remote)) = self.awaits_changed.remove(unit) {
            let expected = matches!(hook, Hook::Relation { relation: id, kind: RelationHook::Changed(r) | RelationHook::Departed(r), .. } if *id == relation && *r == remote);
            // Removal may come in between: then what ends comes first, in whichever relation.
            let ending = matches!(hook, Hook::Relation { kind: RelationHook::Departed(_) | RelationHook::Broken, .. });
            assert!(expected || ending, "{unit}: joined by {remote} was followed by {hook}");
        }
        let Hook::Relation { relation, kind, .. } = hook else { return };
        if let Some(remote) = kind.remote() {
            self.may_meet(unit, *relation, remote);
        }
        let peer = self.relations[relation].len() == 1;
        let key = (unit.clone(), *relation);
        assert!(!self.broken.contains(&key), "{unit}: {hook} after broken");
        let joined = self.joined.entry(key.clone()).or_default();
        match kind {
            RelationHook::Created => assert!(joined.is_empty()),
            RelationHook::Joined(remote) => {
                assert!(self.unit_hooks[unit].iter().any(|name| name == "start"), "{unit}: joined before start");
                assert!(joined.insert(remote.clone()), "{unit}: {remote} joined twice");
                self.awaits_changed.insert(unit.clone(), (*relation, remote.clone()));
            }
            RelationHook::Changed(remote) => {
                assert!(joined.contains(remote), "{unit}: changed by {remote}, who never joined")
            }
            RelationHook::Departed(remote) => {
                assert!(joined.remove(remote), "{unit}: {remote} departed, who never joined")
            }
            RelationHook::Broken => {
                assert!(joined.is_empty(), "{unit}: broken before {joined:?} departed");
                assert!(!peer, "{unit}: a peer relation was broken");
                self.broken.insert(key);
            }
        }
    }
}

struct World {
    model: Model,
    events: Vec<Event>,
    oracle: Oracle,
}

impl World {
    fn new() -> World {
        let mut world = World { model: Model::default(), events: vec![], oracle: Oracle::default() };
        let name = "test".parse().unwrap();
        world.change(Change::CreateEnvironment { name, series: "bookworm".into() }).unwrap();
        let address = "10.0.0.1".parse().unwrap();
        world
            .change(Change::HostFound { series: "bookworm".into(), address, hardware: HardwareFacts::default() })
            .unwrap();
        world
    }

    fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        let before = self.model.clone();
        let said = format!("{change:?}");
        match self.model.change(change, 1) {
            Ok(events) => {
                let problems = check::inconsistencies(&self.model);
                assert!(problems.is_empty(), "after {said}: {problems:#?}");
                events.iter().for_each(|event| self.oracle.heard(event));
                self.events.extend(events);
                Ok(())
            }
            Err(error) => {
                assert_eq!(self.model, before, "{said} was refused ({error}) and changed something");
                Err(error)
            }
        }
    }

    /// One step of one worker; false if nothing at all is due.
    fn work(&mut self, pick: usize) -> bool {
        let machines: Vec<(MachineId, MachineStep)> =
            self.model.machines.keys().filter_map(|id| Some((*id, provision::next(&self.model, *id, None)?))).collect();
        let units: Vec<(UnitName, UnitStep)> =
            self.model.units.keys().filter_map(|name| Some((name.clone(), hooks::next(&self.model, name)?))).collect();
        let count = machines.len() + units.len();
        if count == 0 {
            return false;
        }
        let pick = pick % count;
        let change = if let Some((machine, step)) = machines.get(pick).cloned() {
            match step {
                MachineStep::Create { charm, .. } => Change::MachineProvisioned {
                    machine,
                    instance: format!("i-{machine}"),
                    address: std::net::Ipv4Addr::new(10, 0, 1, machine.number() as u8),
                    hardware: HardwareFacts::default(),
                    prepared: charm.map(|charm| charm.url),
                },
                MachineStep::Start { .. } => return true,
                MachineStep::Destroy { .. } => Change::MachineGone { machine },
            }
        } else {
            let (unit, step) = units[pick - machines.len()].clone();
            match step {
                UnitStep::Run(hook) => {
                    self.oracle.ran(&unit, &hook);
                    self.commit(unit, hook)
                }
                UnitStep::Admit(relation) => Change::AdmitScope { unit, relation },
                UnitStep::Leave(relation) => Change::LeaveScope { unit, relation },
                UnitStep::Finish => Change::UnitDone { unit },
            }
        };
        self.change(change).expect("a worker's report on what was just read is taken");
        true
    }

    fn commit(&self, unit: UnitName, hook: Hook) -> Change {
        let (context, seen) = encanto::worker::context::of(&self.model, &unit, &hook).unwrap();
        for (id, relation) in &context.relations {
            relation.remotes.keys().for_each(|remote| self.oracle.may_meet(&unit, *id, remote));
        }
        let mut writes = HookWrites { ..seen };
        let leader = self.model.leader(&self.model.services[&unit.service]);
        if hook == Hook::ConfigChanged && leader.as_ref() == Some(&unit) {
            writes.leader = SettingsChange::from([("leader".to_owned(), Some(Setting::plain(unit.to_string())))]);
        }
        if let Hook::Relation { relation, kind: RelationHook::Joined(_), .. } = &hook {
            let change = SettingsChange::from([("name".to_owned(), Some(Setting::plain(unit.to_string())))]);
            writes.settings.insert(*relation, change);
        }
        Change::CommitHook { unit, hook, writes: Box::new(writes) }
    }

    fn work_to_the_end(&mut self) {
        for step in 0.. {
            assert!(step < 20_000, "the workers never come to rest");
            if !self.work(step * 7) {
                return;
            }
        }
    }

    /// By force a unit leaves a relation between joined and changed too.
    fn cut(&mut self, force: bool) {
        let inside = |unit: &UnitName, id| self.model.units.get(unit).is_some_and(|unit| unit.scope(id).is_some());
        self.oracle.awaits_changed.retain(|unit, (relation, _)| !force || inside(unit, *relation));
    }

    /// Nothing is due any more: who is up knows everybody that it is related to, and has the company that it should.
    fn all_have_met(&self) {
        let model = &self.model;
        let up = |unit: &&Unit| unit.started && unit.failed.is_none() && unit.life == Life::Alive;
        for relation in model.relations.values().filter(|relation| relation.life == Life::Alive) {
            let ends: Vec<&ServiceName> = relation.endpoints.iter().map(|end| &end.service).collect();
            let container = relation.endpoints.iter().any(|end| end.scope == Scope::Container);
            for unit in model.units.values().filter(up).filter(|unit| ends.contains(&&unit.name.service)) {
                let home = &self.oracle.homes[&unit.name];
                let others = model.units.values().filter(up).filter(|other| {
                    let beyond = ends.len() == 1 || other.name.service != unit.name.service;
                    let near = !container || self.oracle.homes[&other.name] == *home;
                    ends.contains(&&other.name.service) && beyond && near && other.name != unit.name
                });
                for other in others {
                    let seen = unit.scopes.get(&relation.id).and_then(|scope| scope.seen.get(&other.name));
                    assert!(
                        matches!(seen, Some(Some(_))),
                        "{} never met {} in {}",
                        unit.name,
                        other.name,
                        relation.key()
                    );
                }
                let subordinates = ends.iter().filter(|end| container && end.as_str().starts_with("log"));
                for service in subordinates.filter(|_| *home == unit.name) {
                    let has =
                        self.oracle.homes.iter().any(|(other, of)| other.service == **service && *of == unit.name);
                    assert!(has, "{} has no unit of {service} with it", unit.name);
                }
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        let service = |n: usize| -> ServiceName { SERVICES[n % 6].parse().unwrap() };
        let machines: Vec<MachineId> = self.model.machines.keys().copied().collect();
        let units: Vec<UnitName> = self.model.units.keys().cloned().collect();
        // Refusals are part of the play.
        let _ = match ask {
            Ask::Deploy(n, units) => self.change(deployment(&service(n), units)),
            Ask::AddUnit(n) => {
                self.change(Change::AddUnits { service: service(n), count: 1, placement: Placement::Automatic })
            }
            Ask::AddMachine => {
                self.change(Change::AddMachines { count: 1, series: None, constraints: Constraints::default() })
            }
            Ask::AddContainer(n, unit) => {
                let machine = machines[n % machines.len()];
                self.change(match unit {
                    None => Change::AddContainers { machine, count: 1, constraints: Constraints::default() },
                    Some(n) => {
                        Change::AddUnits { service: service(n), count: 1, placement: Placement::Inside(machine) }
                    }
                })
            }
            Ask::SetConstraints(n, mem) => {
                let constraints = Constraints { mem: Some(mem), ..Constraints::default() };
                self.change(Change::SetConstraints { service: n.map(service), constraints })
            }
            Ask::Relate(a, b) => {
                let end = |n| EndpointRef { service: service(n), endpoint: None };
                self.change(Change::AddRelation { one: end(a), other: end(b) })
            }
            Ask::Accompany(a, b) => {
                let end = |n, endpoint: &str| EndpointRef { service: service(n), endpoint: endpoint.parse().ok() };
                // Of two subordinates, that which has its directory with the other; they may share a container too.
                let (one, other) = if b < 4 { ("info", "juju-info") } else { ("dir", "feed") };
                self.change(Change::AddRelation { one: end(a, one), other: end(b, other) })
            }
            Ask::Unrelate(n, force) => match self.model.relations.values().nth(n % self.model.relations.len().max(1)) {
                Some(relation) if !relation.is_peer() => {
                    let end = |n: usize| {
                        let RelationEndpoint { service, endpoint, .. } = relation.endpoints[n].clone();
                        EndpointRef { service, endpoint: Some(endpoint) }
                    };
                    let parted = self.change(Change::DestroyRelation { one: end(0), other: end(1), force });
                    self.cut(force);
                    parted
                }
                _ => Ok(()),
            },
            Ask::DestroyUnit(n, force) if !units.is_empty() => {
                self.change(Change::DestroyUnits { units: vec![units[n % units.len()].clone()], force })
            }
            Ask::DestroyService(n, force) => {
                let destroyed = self.change(Change::DestroyServices { services: vec![service(n)], force });
                self.cut(force);
                destroyed
            }
            Ask::DestroyMachine(n, force) => {
                self.change(Change::DestroyMachines { machines: vec![machines[n % machines.len()]], force })
            }
            Ask::Work(n, times) => {
                for step in 0..usize::from(times) {
                    self.work(n.wrapping_add(step * 13));
                }
                Ok(())
            }
            Ask::FailHook(n) if !units.is_empty() => {
                let unit = units[n % units.len()].clone();
                match hooks::next(&self.model, &unit) {
                    Some(UnitStep::Run(hook)) => {
                        if self.model.units[&unit].life == Life::Dying {
                            self.oracle.ran(&unit, &hook);
                        }
                        self.change(Change::FailHook { unit, hook, message: "no".into() })
                    }
                    _ => Ok(()),
                }
            }
            Ask::Resolve(n, retry) if !units.is_empty() => {
                let unit = units[n % units.len()].clone();
                let skipped = self.model.units[&unit].failed.clone().filter(|_| !retry).map(|failed| failed.hook);
                let resolved = self.change(Change::Resolve { unit: unit.clone(), retry });
                if let Some(hook) = skipped.filter(|_| resolved.is_ok()) {
                    self.oracle.ran(&unit, &hook);
                }
                resolved
            }
            Ask::FailMachine(n) => match provision::next(&self.model, machines[n % machines.len()], None) {
                Some(MachineStep::Create { .. }) => {
                    self.change(Change::MachineFailed { machine: machines[n % machines.len()], message: "no".into() })
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        };
    }
}

fn deployment(service: &ServiceName, units: u32) -> Change {
    let kind = service.as_str().trim_end_matches("-b");
    Change::Deploy(Box::new(Deployment {
        service: service.clone(),
        charm: charm(kind),
        digest: kind.to_owned(),
        units,
        placement: Placement::Automatic,
        config: IndexMap::new(),
        generated: IndexMap::new(),
        constraints: Constraints::default(),
        expose: false,
    }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_gets_stuck_and_nothing_is_left(asks in prop::collection::vec(ask(), 1..60)) {
        let mut world = World::new();
        for ask in asks {
            world.ask(ask);
        }
        world.work_to_the_end();
        world.all_have_met();

        let mut replayed = Model::default();
        for event in &world.events {
            let stored: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            replayed.apply(&stored, 1);
        }
        prop_assert_eq!(&replayed, &world.model);
        let snapshot: Model = serde_json::from_slice(&serde_json::to_vec(&world.model).unwrap()).unwrap();
        prop_assert_eq!(&snapshot, &world.model);

        let services: Vec<ServiceName> = world.model.services.keys().cloned().collect();
        world.change(Change::DestroyServices { services, force: false }).unwrap();
        world.work_to_the_end();
        let machines = world.model.machines.keys().copied().filter(|id| *id != MachineId::HOST).collect();
        world.change(Change::DestroyMachines { machines, force: false }).unwrap();
        world.work_to_the_end();
        prop_assert!(world.model.units.is_empty(), "{:#?}", world.model.units);
        prop_assert!(world.model.services.is_empty() && world.model.relations.is_empty() && world.model.charms.is_empty());
        prop_assert_eq!(world.model.machines.len(), 1);
    }
}

#[test]
fn errors_have_jujus_words() {
    let mut world = World::new();
    let mut refused = |change: Change| world.change(change).map_err(|error| error.to_string()).unwrap_err();
    let end = |text: &str| {
        let (service, endpoint) = text.split_once(':').map_or((text, None), |(s, e)| (s, Some(e)));
        EndpointRef { service: service.parse().unwrap(), endpoint: endpoint.map(|e| e.parse().unwrap()) }
    };
    let relate = |a: &str, b: &str| Change::AddRelation { one: end(a), other: end(b) };
    assert_eq!(refused(relate("db", "app")), "service \"db\" not found");
    assert_eq!(
        refused(Change::DestroyMachines { machines: vec![MachineId::new(0), MachineId::new(7)], force: true }),
        "no machines were destroyed: machine 0 is required by the environment; machine 7 does not exist"
    );
    let db = "db".parse().unwrap();
    world.change(deployment(&db, 1)).unwrap();
    world.change(deployment(&"app".parse().unwrap(), 1)).unwrap();
    world.change(deployment(&"app-b".parse().unwrap(), 1)).unwrap();
    let mut refused = |change: Change| world.change(change).map_err(|error| error.to_string()).unwrap_err();
    assert_eq!(refused(deployment(&db, 1)), "cannot add service \"db\": service already exists");
    assert_eq!(refused(relate("app", "app")), "a relation must involve two services");
    assert_eq!(refused(relate("app", "app-b")), "no relations found");
    assert_eq!(refused(relate("app:web", "db")), "service \"app\" has no \"web\" relation");
    assert_eq!(
        refused(Change::DestroyMachines { machines: vec![MachineId::new(1)], force: false }),
        "no machines were destroyed: machine 1 has unit \"db/0\" assigned"
    );
    assert_eq!(
        refused(Change::DestroyUnits { units: vec!["db/9".parse().unwrap()], force: false }),
        "no units were destroyed: unit \"db/9\" does not exist"
    );
    world.change(relate("app", "db")).unwrap();
    let again = world.change(relate("db", "app")).map_err(|error| error.to_string());
    assert_eq!(again, Err("cannot add relation \"app:db db:db\": relation already exists".into()));
}
