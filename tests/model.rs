//! The pure core under random operators and random workers.
//!
//! Whatever is asked in whatever order, and however far the workers have come: the model stays consistent, a refused
//! change changes nothing, the journal replays to the same model, no hook guarantee is broken (`oracle` watches,
//! which knows nothing of `plan`), and after destroying everything nothing is left.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

#[path = "model/adoption.rs"]
mod adoption;
#[allow(dead_code, reason = "the simulation uses the rest")]
mod oracle;
#[path = "model/relations.rs"]
mod relations;
#[path = "model/wishes.rs"]
mod wishes;

use std::collections::{BTreeMap, BTreeSet};

use encanto::model::*;
use encanto::plan::actions::{self, ActionStep};
use encanto::plan::hooks::{self, UnitStep};
use encanto::plan::provision::MachineStep;
use indexmap::IndexMap;
use oracle::{End, Oracle};
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
        actions: IndexMap::from([("backup".parse().unwrap(), ActionDecl::default())]),
        prepares: name != "db",
    }
}

#[derive(Clone, Debug)]
enum Ask {
    Deploy(usize, u32),
    AddUnit(usize),
    AddMachine,
    /// What is on the host already, or a unit of the service on it.
    Adopt(usize, usize),
    Release(usize),
    /// Stop, start or restart.
    Power(usize, usize),
    Clone(usize),
    Restore(usize),
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
    Act(usize),
    CancelAction(usize),
    /// The controller is killed: what runs is not heard of again.
    Crash,
    Resolve(usize, bool),
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        2 => (0..6usize, 1..3u32).prop_map(|(s, n)| Ask::Deploy(s, n)),
        2 => (0..6usize).prop_map(Ask::AddUnit),
        1 => Just(Ask::AddMachine),
        2 => (any::<usize>(), 0..4usize).prop_map(|(n, s)| Ask::Adopt(n, s)),
        1 => any::<usize>().prop_map(Ask::Release),
        3 => (any::<usize>(), 0..3usize).prop_map(|(n, what)| Ask::Power(n, what)),
        1 => any::<usize>().prop_map(Ask::Clone),
        1 => any::<usize>().prop_map(Ask::Restore),
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
        3 => any::<usize>().prop_map(Ask::Act),
        1 => any::<usize>().prop_map(Ask::CancelAction),
        1 => Just(Ask::Crash),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, retry)| Ask::Resolve(n, retry)),
    ]
}

/// The last two are subordinates.
const SERVICES: [&str; 6] = ["db", "db-b", "app", "app-b", "log", "log-b"];

struct World {
    /// How instances are.
    seen: BTreeMap<MachineId, Sighting>,
    /// Actions that this controller runs, and all that ever began.
    running: BTreeSet<ActionId>,
    begun: BTreeSet<ActionId>,
    model: Model,
    events: Vec<Event>,
    oracle: Oracle,
}

impl World {
    fn new() -> World {
        let mut world = World {
            seen: BTreeMap::new(),
            running: BTreeSet::new(),
            begun: BTreeSet::new(),
            model: Model::default(),
            events: vec![],
            oracle: Oracle::default(),
        };
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
        self.oracle.by_force(matches!(
            change,
            Change::DestroyRelation { force: true, .. } | Change::DestroyServices { force: true, .. }
        ));
        match self.model.change(change, 1) {
            Ok(events) => {
                let problems = check::inconsistencies(&self.model);
                assert!(problems.is_empty(), "after {said}: {problems:#?}");
                events.iter().for_each(|event| self.oracle.recorded(event));
                let broken = self.oracle.problems();
                assert!(broken.is_empty(), "after {said}: {broken:#?}");
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
            self.model.machines.keys().filter_map(|id| Some((*id, self.due_for(*id)?))).collect();
        let units: Vec<(UnitName, UnitStep)> =
            self.model.units.keys().filter_map(|name| Some((name.clone(), hooks::next(&self.model, name)?))).collect();
        let actions: Vec<ActionStep> =
            self.model.units.keys().filter_map(|name| actions::next(&self.model, name)).collect();
        let count = machines.len() + units.len() + actions.len();
        if count == 0 {
            return false;
        }
        let pick = pick % count;
        let change = if let Some((machine, step)) = machines.get(pick).cloned() {
            let Some(report) = self.report(machine, step) else { return true };
            report
        } else if pick >= machines.len() + units.len() {
            self.act(actions[pick - machines.len() - units.len()])
        } else {
            let (unit, step) = units[pick - machines.len()].clone();
            match step {
                UnitStep::Run(hook) => {
                    self.ran(&unit, &hook, End::Returned);
                    self.commit(unit, hook)
                }
                UnitStep::Admit(relation) => Change::AdmitScope { unit, relation },
                UnitStep::Leave(relation) => Change::LeaveScope { unit, relation },
                UnitStep::Finish => Change::UnitDone { unit },
            }
        };
        let started = if let Change::StartAction { action } = change { Some(action) } else { None };
        self.change(change).expect("a worker's report on what was just read is taken");
        if let Some(action) = started.map(|id| self.model.actions[&id].clone()) {
            self.ran(&action.unit, &Hook::Action(action.name), End::Returned);
        }
        true
    }

    /// An action begins, ends, or is found to have been cut off; it never begins twice.
    fn act(&mut self, step: ActionStep) -> Change {
        match step {
            ActionStep::Run(action) => {
                let unit = &self.model.units[&self.model.actions[&action].unit];
                assert!(unit.installed && unit.life == Life::Alive, "{action} is due for {}", unit.name);
                assert!(self.begun.insert(action), "{action} begins twice");
                self.running.insert(action);
                Change::StartAction { action }
            }
            ActionStep::CutOff(action) => {
                let end = if self.running.remove(&action) {
                    ActionEnd::Completed { results: Default::default() }
                } else {
                    ActionEnd::Failed { message: "interrupted".into() }
                };
                let state = Some(serde_json::Map::from_iter([("n".to_owned(), action.0.into())]));
                Change::EndAction { action, end, writes: Box::new(HookWrites { state, ..HookWrites::default() }) }
            }
        }
    }

    fn ran(&mut self, unit: &UnitName, hook: &Hook, end: End) {
        if *hook != Hook::Prepare {
            let (context, _) = encanto::worker::context::of(&self.model, unit, hook).unwrap();
            self.oracle.ran(&context, end);
        }
    }

    fn commit(&self, unit: UnitName, hook: Hook) -> Change {
        let (_, seen) = encanto::worker::context::of(&self.model, &unit, &hook).unwrap();
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
            Ask::AddMachine => self.change(Change::AddMachines {
                count: 1,
                series: None,
                constraints: Constraints::default(),
                name: None,
            }),
            Ask::Adopt(n, service) => self.adopt(n, service),
            Ask::Release(n) => self.release(n),
            Ask::Power(n, what) => self.power(machines[n % machines.len()], what),
            Ask::Clone(n) => self.clone_of(machines[n % machines.len()]),
            Ask::Restore(n) => self.restore(machines[n % machines.len()]),
            Ask::AddContainer(n, unit) => {
                let machine = machines[n % machines.len()];
                self.change(match unit {
                    None => {
                        Change::AddContainers { machine, count: 1, constraints: Constraints::default(), name: None }
                    }
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
                    self.change(Change::DestroyRelation { one: end(0), other: end(1), force })
                }
                _ => Ok(()),
            },
            Ask::DestroyUnit(n, force) if !units.is_empty() => {
                self.change(Change::DestroyUnits { units: vec![units[n % units.len()].clone()], force })
            }
            Ask::DestroyService(n, force) => self.change(Change::DestroyServices { services: vec![service(n)], force }),
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
                        self.ran(&unit, &hook, End::Failed);
                        self.change(Change::FailHook { unit, hook, message: "no".into() })
                    }
                    _ => Ok(()),
                }
            }
            Ask::Act(n) if !units.is_empty() => self.change(call(&units[n % units.len()], "backup")),
            Ask::CancelAction(n) if self.model.next_action > 0 => {
                let action = ActionId((n % self.model.next_action as usize) as u32);
                self.change(Change::CancelActions { actions: vec![action] })
            }
            Ask::Crash => {
                self.running.clear();
                self.oracle.controller_died();
                Ok(())
            }
            Ask::Resolve(n, retry) if !units.is_empty() => {
                self.change(Change::Resolve { unit: units[n % units.len()].clone(), retry })
            }
            Ask::FailMachine(n) => match self.due_for(machines[n % machines.len()]) {
                Some(MachineStep::Create { .. } | MachineStep::Adopt { .. } | MachineStep::Clone(_)) => {
                    self.change(Change::MachineFailed { machine: machines[n % machines.len()], message: "no".into() })
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        };
    }
}

fn call(unit: &UnitName, action: &str) -> Change {
    Change::QueueAction(Box::new(ActionCall {
        unit: unit.clone(),
        name: action.parse().unwrap(),
        params: IndexMap::new(),
        timeout: None,
        by: "test".into(),
    }))
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
        let unfinished = world.oracle.at_rest(&world.model);
        prop_assert!(unfinished.is_empty(), "{unfinished:#?}");

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
        world.clear_machines();
        world.work_to_the_end();
        prop_assert!(world.model.units.is_empty(), "{:#?}", world.model.units);
        prop_assert!(world.model.services.is_empty() && world.model.relations.is_empty() && world.model.charms.is_empty());
        prop_assert_eq!(world.model.machines.len(), 1);
        prop_assert!(world.model.actions.values().all(|action| action.state.is_over()), "{:?}", world.model.actions);
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
