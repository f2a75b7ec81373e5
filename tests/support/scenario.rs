//! A story about an environment, told step by step to a real controller on the simulated provider.
//!
//! Every hook of the charms here runs `hook <unit> <hook>` in its machine, so that a story can let it fail or hang.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use encanto::api::backend::{Asker, Backend};
use encanto::api::server::Handle;
use encanto::api::{self, CharmSource, Done, EnvironmentStatus, Refusal};
use encanto::charm::{CharmHost, Limits};
use encanto::controller::{Controller, ControllerBackend, Origin, Parts};
use encanto::model::{Event, Hook, MachineId, Model, Observed, UnitName, check};
use encanto::plan::nudge::Concerned;
use encanto::plan::settled::at_rest;
use encanto::provider::InstanceName;
use encanto::provider::simulated::{ExecScript, SimulatedProvider};
use encanto::store::MemoryJournal;
use encanto::worker::ledger::Writing;

/// How long a story waits for what must come: a slow machine needs longer, a right one never that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A test that is told as a story, and at its end nothing more happens.
macro_rules! story {
    ($name:ident, $scenario:ident, $body:block) => {
        #[test]
        fn $name() {
            // The Lua VM needs deep stacks in an unoptimised build.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_stack_size(8 << 20)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                #[allow(unused_mut)]
                let mut $scenario = Scenario::new().await;
                $body
                $scenario.nothing_more_happens().await;
            });
        }
    };
}
pub(crate) use story;

pub struct Scenario {
    pub journal: MemoryJournal,
    pub provider: Arc<SimulatedProvider>,
    failing: Arc<Mutex<BTreeSet<(String, String)>>>,
    hanging: Arc<Mutex<BTreeSet<(String, String)>>>,
    /// Charms survive a controller, as they do on disk.
    folder: tempfile::TempDir,
    /// Milliseconds until a failed hook is run again; a story's hooks stay failed unless it says so.
    pub retry_hooks: Option<i64>,
    /// A story's units are left alone unless it says so.
    pub update_status: Option<Duration>,
    running: Option<(Controller, Arc<ControllerBackend>)>,
}

impl Scenario {
    pub async fn new() -> Scenario {
        let (failing, hanging) = (Arc::default(), Arc::default());
        let provider = Arc::new(SimulatedProvider::new());
        let mut scenario = Scenario {
            journal: MemoryJournal::default(),
            provider,
            failing,
            hanging,
            folder: tempfile::tempdir().unwrap(),
            retry_hooks: None,
            update_status: None,
            running: None,
        };
        let (failing, hanging) = (scenario.failing.clone(), scenario.hanging.clone());
        scenario.provider.answer_exec(move |_, request| {
            let [_, unit, hook] = request.argv.as_slice() else { return ExecScript::default() };
            let named = (unit.clone(), hook.clone());
            let fails = failing.lock().unwrap().contains(&named);
            ExecScript {
                exit: i32::from(fails),
                stderr: if fails { b"E: no room left\n".to_vec() } else { Vec::new() },
                hangs: hanging.lock().unwrap().contains(&named),
                ..ExecScript::default()
            }
        });
        scenario.start_controller().await;
        scenario
    }

    pub async fn start_controller(&mut self) {
        let charm_host = Arc::new(CharmHost::new(Limits::default()));
        let parts = Parts {
            environment: "test".parse().unwrap(),
            series: "bookworm".into(),
            prefix: "me-test-".into(),
            origin: Origin { kind: api::EnvironmentKind::Simulated, user: "me".into() },
            folder: Some(self.folder.path().to_owned()),
            log_size: encanto::api::LOG_SIZE,
            repository: None,
            journal: Box::new(self.journal.clone()),
            provider: self.provider.clone(),
            writing: Writing::Thread,
            hooks: charm_host.clone(),
            charm_host,
            clock: Arc::new(now),
            retry_hooks: self.retry_hooks,
            update_status: self.update_status,
            instances_in_memory: false,
        };
        let controller = Controller::start(parts).await.unwrap();
        let backend = controller.backend(None);
        self.running = Some((controller, backend));
    }

    /// Like `kill -9`: nothing is finished, nothing is told.
    pub async fn kill_controller(&mut self) {
        if let Some((controller, backend)) = self.running.take() {
            controller.stop().await;
            let ended = controller.world.ledger.ended();
            drop((controller, backend));
            // The next one must not meet the last writes of this one; on disk a lock sees to that.
            ended.await;
        }
    }

    pub fn backend(&self) -> &ControllerBackend {
        &self.running.as_ref().expect("the controller runs").1
    }

    fn controller(&self) -> &Controller {
        &self.running.as_ref().expect("the controller runs").0
    }

    /// What a controller serves on its socket.
    pub fn api(&self) -> axum::Router {
        let (_, backend) = self.running.as_ref().expect("the controller runs");
        encanto::api::server::router(backend.clone())
    }

    pub async fn ask<V: Handle>(&self, request: V) -> Result<V::Answer, Refusal> {
        let by = Asker { user: "ana".into(), command: V::PATH.into() };
        request.handle(self.backend(), &by).await
    }

    pub async fn deploy(&self, charm: &str, units: u32) -> Done {
        self.try_deploy(charm, charm, units).await.unwrap()
    }

    pub async fn try_deploy(&self, charm: &str, service: &str, units: u32) -> Result<Done, Refusal> {
        let files = [("charm.lua".to_owned(), api::base64::encode(source(charm).as_bytes()))].into();
        self.ask(api::Deploy {
            charm: CharmSource::Files { path: format!("./{charm}"), files },
            service: Some(service.to_owned()),
            units,
            to: None,
            config: Default::default(),
            constraints: None,
            expose: false,
        })
        .await
    }

    pub async fn upgrade(&self, service: &str, charm: &str, force: bool) -> Result<Done, Refusal> {
        let files = [("charm.lua".to_owned(), api::base64::encode(source(charm).as_bytes()))].into();
        let charm = Some(CharmSource::Files { path: format!("./{charm}"), files });
        self.ask(api::UpgradeCharm { service: service.into(), charm, force }).await
    }

    pub async fn add_unit(&self, service: &str) {
        self.ask(api::AddUnit { service: service.into(), units: 1, to: None }).await.unwrap();
    }

    pub async fn relate(&self, one: &str, other: &str) {
        self.ask(api::AddRelation { endpoints: vec![one.into(), other.into()] }).await.unwrap();
    }

    pub async fn set(&self, service: &str, key: &str, value: &str) {
        let values = [(key.to_owned(), value.into())].into_iter().collect();
        self.ask(api::SetConfig { service: service.into(), values }).await.unwrap();
    }

    pub async fn expose(&self, service: &str, publish: &[&str]) {
        let publish = publish.iter().map(|p| p.to_string()).collect();
        self.ask(api::Expose { service: service.into(), publish }).await.unwrap();
    }

    pub async fn destroy_unit(&self, unit: &str, force: bool) {
        self.ask(api::DestroyUnit { units: vec![unit.into()], force }).await.unwrap();
    }

    pub async fn destroy_service(&self, service: &str, force: bool) {
        self.ask(api::DestroyService { services: vec![service.into()], force }).await.unwrap();
    }

    pub async fn destroy_machine(&self, machine: &str, force: bool) {
        self.ask(api::DestroyMachine { machines: vec![machine.into()], force }).await.unwrap();
    }

    pub fn fail_hook(&self, unit: &str, hook: &str) {
        self.failing.lock().unwrap().insert((unit.into(), hook.into()));
    }

    pub fn heal_hook(&self, unit: &str, hook: &str) {
        self.failing.lock().unwrap().remove(&(unit.into(), hook.into()));
    }

    pub fn hang_hook(&self, unit: &str, hook: &str) {
        self.hanging.lock().unwrap().insert((unit.into(), hook.into()));
    }

    pub fn release_hook(&self, unit: &str, hook: &str) {
        self.hanging.lock().unwrap().remove(&(unit.into(), hook.into()));
    }

    pub fn instance(&self, machine: u32) -> InstanceName {
        InstanceName::new(format!("me-test-machine-{machine}")).unwrap()
    }

    pub async fn status(&self) -> EnvironmentStatus {
        self.ask(api::Status { patterns: vec![] }).await.unwrap()
    }

    /// Waits until `holds`, and tells the last seen state if that never comes.
    pub async fn until(&self, what: &str, holds: impl Fn(&Model) -> bool) {
        let ledger = &self.controller().world.ledger;
        let mut changes = ledger.changes();
        let comes = async {
            loop {
                changes.mark_unchanged();
                let reached = holds(&ledger.model());
                if reached || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let reached = tokio::time::timeout(PATIENCE, comes).await;
        if reached.is_err() {
            panic!("{what} never came; last seen: {:#?}", self.status().await);
        }
    }

    /// Waits until `holds` for what is seen of the world.
    pub async fn until_observed(&self, what: &str, holds: impl Fn(&Observed) -> bool) {
        let ledger = &self.controller().world.ledger;
        let mut changes = ledger.changes();
        let comes = async {
            loop {
                changes.mark_unchanged();
                let reached = holds(&ledger.observed());
                if reached || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, comes).await.is_err() {
            panic!("{what} never came; last seen: {:#?}", self.status().await);
        }
    }

    /// Waits until nobody has anything to do.
    pub async fn settle(&self) {
        let ledger = &self.controller().world.ledger;
        let mut changes = ledger.changes();
        let settled = async {
            loop {
                changes.mark_unchanged();
                if at_rest(&ledger.model(), &ledger.observed()) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, settled).await.is_err() {
            let activity = ledger.observed().clone();
            panic!("it never came to rest: {activity:#?}\n{:#?}", self.status().await);
        }
    }

    pub fn ledger(&self) -> encanto::worker::ledger::Ledger {
        self.controller().world.ledger.clone()
    }

    /// Waits until the machine's instance was seen in this state, and the provider was asked to start one so often.
    pub async fn until_instance(&self, machine: u32, state: &str, starts: usize) {
        let mut changes = self.ledger().changes();
        let seen = async {
            loop {
                changes.mark_unchanged();
                let status = self.status().await.machines[&machine.to_string()].instance_state.clone();
                let started = self.provider.calls().iter().filter(|call| call.kind == "start").count();
                if status.as_deref() == Some(state) && started == starts {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("machine {machine} was never {state}: {:#?}", self.status().await);
        }
    }

    /// A started machine must not say that it is being made.
    pub async fn machine_is_started(&self, machine: u32) -> bool {
        let now = self.status().await.machines[&machine.to_string()].clone();
        let started = now.agent_state.as_deref() == Some("started");
        assert!(!started || now.agent_state_info.is_none(), "{now:#?}");
        started
    }

    /// What `wait` gives as reasons; none if all is well.
    pub async fn wait_fails(&self, targets: &[encanto::plan::settled::Target]) -> Vec<String> {
        use encanto::worker::waiter::{Told, wait};
        let (told, mut tells) = tokio::sync::mpsc::channel(64);
        let condition = encanto::plan::settled::Condition::Active;
        tokio::spawn(wait(self.ledger(), targets.to_vec(), condition, Some(PATIENCE), told));
        while let Some(tell) = tells.recv().await {
            match tell {
                Told::Progress(_) => {}
                Told::Ready => return Vec::new(),
                Told::Failed(reasons) | Told::TimedOut(reasons) => return reasons,
            }
        }
        panic!("the wait ended without an end");
    }

    /// Waits until `unit` runs `hook`.
    pub async fn until_runs(&self, unit: &str, hook: &str) {
        let ledger = &self.controller().world.ledger;
        let name: UnitName = unit.parse().unwrap();
        let mut changes = ledger.changes();
        let runs = async {
            loop {
                changes.mark_unchanged();
                if ledger.observed().unit_activity.get(&name) == Some(&format!("running {hook}")) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, runs).await.is_err() {
            panic!("{unit} never ran {hook}: {:#?}", self.status().await);
        }
    }

    /// The end of every story: all is consistent, and looking again at everything finds nothing to do.
    pub async fn nothing_more_happens(&self) {
        self.settle().await;
        let ledger = &self.controller().world.ledger;
        let problems = self.backend().problems().await;
        assert!(problems.is_empty(), "{problems:#?}");
        let everyone = Concerned::everyone(&ledger.model());
        let due: Vec<String> = everyone
            .units
            .iter()
            .filter_map(|unit| Some(format!("{unit}: {:?}", encanto::plan::hooks::next(&ledger.model(), unit)?)))
            .collect();
        assert!(due.is_empty(), "still due: {due:?}");
        assert!(check::inconsistencies(&ledger.model()).is_empty());
    }

    /// Every hook that was committed, in order, e.g. `db/0 install`.
    pub fn hooks(&self) -> Vec<String> {
        let events = self.journal.entries().into_iter().map(|entry| entry.event);
        events
            .filter_map(|event| match event {
                Event::HookCommitted { unit, hook, .. } => Some(format!("{unit} {}", shown(&hook))),
                Event::HookSkipped { unit, hook, .. } => Some(format!("{unit} {} (skipped)", shown(&hook))),
                _ => None,
            })
            .collect()
    }

    pub fn hooks_of(&self, unit: &str) -> Vec<String> {
        let own = format!("{unit} ");
        self.hooks().iter().filter_map(|hook| hook.strip_prefix(&own).map(str::to_owned)).collect()
    }

    pub async fn expect_unit(&self, unit: &str, agent: &str, workload: &str) {
        let status = self.status().await;
        let service = unit.split('/').next().unwrap();
        let found = &status.services[service].units[unit];
        let seen = (found.agent_state.as_str(), found.workload_status.current.as_str());
        assert_eq!(seen, (agent, workload), "{found:#?}");
    }

    pub fn model(&self) -> Model {
        self.controller().world.ledger.model().clone()
    }

    pub fn machine_numbers(&self) -> Vec<u32> {
        self.model().machines.keys().filter(|id| **id != MachineId::HOST).map(|id| id.number()).collect()
    }
}

/// The hook's name, and whom it is about: `db-relation-joined app/0`.
fn shown(hook: &Hook) -> String {
    match hook {
        Hook::Relation { kind, .. } => match kind.remote() {
            Some(remote) => format!("{hook} {remote}"),
            None => hook.to_string(),
        },
        _ => hook.to_string(),
    }
}

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_millis() as i64
}

/// The charms of the stories.
fn source(charm: &str) -> String {
    let common = r#"
local function step(unit, relation)
  unit:exec{ "hook", unit.name, unit.hook }
end
"#;
    let body = match charm {
        "db" => {
            r#"return charm { name = "db", summary = "s", series = { "bookworm" },
  provides = { db = { interface = "sql" } }, peers = { cluster = { interface = "sql-cluster" } },
  config = { size = { type = "int", default = 1, min = 1 } },
  hooks = { install = step, start = function(unit) step(unit) unit:set_status("active", "ready") end,
    ["config-changed"] = step, stop = step,
    ["db-relation-created"] = step,
    ["db-relation-joined"] = function(unit, relation) step(unit) relation:set{ password = secret("pw-" .. relation.remote) } end,
    ["db-relation-changed"] = step, ["db-relation-departed"] = step, ["db-relation-broken"] = step } }"#
        }
        "app" => {
            r#"return charm { name = "app", summary = "s", series = { "bookworm" },
  requires = { db = { interface = "sql" } }, provides = { website = { interface = "http" } },
  hooks = { install = step, ["config-changed"] = step,
    start = function(unit) step(unit) unit:set_status("waiting", "no database") unit:open_port(80) end,
    stop = step,
    ["db-relation-joined"] = step,
    ["db-relation-changed"] = function(unit, relation) step(unit)
      if relation:get("password") then unit:set_status("active", "serving") end end,
    ["db-relation-departed"] = step,
    ["db-relation-broken"] = function(unit) step(unit) unit:set_status("waiting", "no database") end } }"#
        }
        "prepared" => {
            r#"return charm { name = "prepared", summary = "s", series = { "bookworm" },
  prepare = function(machine) machine:exec{ "hook", "build", "prepare" } machine:write("/opt/software", "1") end,
  hooks = { install = step, start = function(unit) step(unit)
    unit:set_status("active", unit:read("/opt/software") or "no software") end } }"#
        }
        "db-next" => {
            r#"return charm { name = "db", summary = "s", series = { "bookworm" },
  provides = { db = { interface = "sql" } },
  peers = { cluster = { interface = "sql-cluster" }, backup = { interface = "sql-backup" } },
  config = { size = { type = "int", default = 1, min = 1, max = 5 }, colour = { type = "string", default = "red" } },
  hooks = { install = step, ["upgrade-charm"] = step, start = step,
    ["config-changed"] = function(unit) step(unit) unit:set_status("active", "next " .. unit.config.colour) end,
    ["db-relation-joined"] = step } }"#
        }
        "pulse" => {
            r#"return charm { name = "pulse", summary = "s", series = { "bookworm" },
  hooks = { ["leader-elected"] = function(unit) step(unit) unit.state.leader = true end,
    start = function(unit) unit:set_status("active", unit.state.leader and "leads" or "follows") end,
    ["update-status"] = function(unit) step(unit)
      if not unit.state.seen then unit.state.seen = true unit:open_port(1234) end end } }"#
        }
        "tool" => {
            r#"return charm { name = "tool", summary = "s", series = { "bookworm" },
  provides = { website = { interface = "http" } }, config = { key = { type = "string", secret = true, default = "sesame-7" } },
  hooks = { install = step, ["config-changed"] = step, stop = step,
    start = function(unit) step(unit) unit:set_status("active", "ready") end },
  actions = {
    backup = { description = "Saves",
      params = { file = { type = "string", required = true }, keep = { type = "int", default = 3, min = 1 },
        password = { type = "string", secret = true } },
      run = function(unit, params)
        step(unit)
        unit.state.count = (unit.state.count or 0) + 1
        unit:open_port(99)
        for _, relation in unit:relations("website") do relation:set{ saved = params.file } end
        return { file = params.file, keep = params.keep, count = unit.state.count,
          deep = { key = unit.config.key, text = `with {params.password or "none"}` } }
      end },
    broken = { run = function(unit) unit.state.count = 100 unit:open_port(100) unit:exec{ "hook", unit.name, "step" }
      error("no such table: " .. unit.config.key) end },
  } }"#
        }
        "tool-next" => {
            r#"return charm { name = "tool", summary = "s", series = { "bookworm" },
  provides = { website = { interface = "http" } }, hooks = { ["upgrade-charm"] = step } }"#
        }
        "log" => {
            r#"return charm { name = "log", summary = "s", series = { "bookworm" }, subordinate = true,
  requires = { info = { interface = "juju-info", scope = "container" },
    directory = { interface = "sql", scope = "container" } },
  provides = { feed = { interface = "feed" } },
  hooks = { install = step, ["config-changed"] = step, start = step, stop = step,
    ["info-relation-joined"] = function(unit, relation) step(unit)
      unit:set_status("active", `reads {#relation:units()}: {relation.remote}`) end,
    ["info-relation-changed"] = step, ["info-relation-departed"] = step, ["info-relation-broken"] = step } }"#
        }
        "log-alone" => r#"return charm { name = "log", summary = "s", series = { "bookworm" } }"#,
        "watch" => {
            r#"return charm { name = "watch", summary = "s", series = { "bookworm" },
  requires = { feed = { interface = "feed" } },
  hooks = { start = step, ["feed-relation-joined"] = step, ["feed-relation-departed"] = step,
    ["juju-info-relation-joined"] = function(unit, relation) step(unit)
      unit:set_status("active", `read by {#unit:relations("juju-info")}`) end } }"#
        }
        "db-broken" => r#"return charm { name = "db", summary = "s", series = { "bookworm" } }"#,
        other => panic!("there is no charm {other} in the stories"),
    };
    format!("{common}\n{body}\n")
}
