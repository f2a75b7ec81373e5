//! A story about an environment, told step by step to a real controller on the simulated provider.
//!
//! Every hook of the charms here runs `hook <unit> <hook>` in its machine, so that a story can let it fail or hang.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use encanto::api::backend::Asker;
use encanto::api::server::Handle;
use encanto::api::{self, CharmSource, Done, EnvironmentStatus, Refusal};
use encanto::charm::{CharmHost, Limits};
use encanto::controller::{Controller, ControllerBackend, Origin, Parts};
use encanto::provider::InstanceName;
use encanto::provider::simulated::{ExecScript, SimulatedProvider};
use encanto::store::MemoryJournal;
use encanto::worker::ledger::Writing;
use tokio::sync::watch;

use super::story_charms::source;

/// How long a story waits for what must come: a slow machine needs longer, a right one never that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A test that is a story: it begins with an empty environment, and ends with nothing more happening.
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
                let mut $scenario = $crate::support::scenario::Scenario::new().await;
                $body
                $scenario.nothing_more_happens().await;
            });
        }
    };
}
pub(crate) use story;

/// What the hooks of the charms do on their machines.
#[derive(Default)]
struct Hooks {
    /// Unit and hook.
    failing: Mutex<BTreeSet<(String, String)>>,
    hanging: Mutex<BTreeMap<(String, String), watch::Sender<bool>>>,
    /// Each as it began on its machine, also those that failed or were cut off.
    begun: Mutex<Vec<String>>,
}

impl Hooks {
    fn answer(&self, unit: &str, hook: &str) -> ExecScript {
        self.begun.lock().unwrap().push(format!("{unit} {hook}"));
        let named = (unit.to_owned(), hook.to_owned());
        let fails = self.failing.lock().unwrap().contains(&named);
        let until = self.hanging.lock().unwrap().get(&named).map(watch::Sender::subscribe);
        ExecScript {
            exit: i32::from(fails),
            stderr: if fails { b"reading the list\nE: no room left\n".to_vec() } else { Vec::new() },
            hangs: until.is_some(),
            until,
            ..ExecScript::default()
        }
    }
}

pub struct Scenario {
    pub journal: MemoryJournal,
    pub provider: Arc<SimulatedProvider>,
    hooks: Arc<Hooks>,
    /// Charms survive a controller, as they do on disk.
    folder: tempfile::TempDir,
    /// Milliseconds until a failed hook is run again; a story's hooks stay failed unless it says so.
    pub retry_hooks: Option<i64>,
    /// A story's units are left alone unless it says so.
    pub update_status: Option<Duration>,
    /// What names of instances begin with.
    pub prefix: String,
    /// What the environment takes itself for.
    pub kind: api::EnvironmentKind,
    running: Option<(Controller, Arc<ControllerBackend>)>,
}

impl Scenario {
    pub async fn new() -> Scenario {
        let hooks: Arc<Hooks> = Arc::default();
        let mut scenario = Scenario {
            journal: MemoryJournal::default(),
            provider: Arc::new(SimulatedProvider::new()),
            hooks: hooks.clone(),
            folder: tempfile::tempdir().unwrap(),
            retry_hooks: None,
            update_status: None,
            prefix: "me-test-".into(),
            kind: api::EnvironmentKind::Simulated,
            running: None,
        };
        scenario.provider.answer_exec(move |_, request| match request.argv.as_slice() {
            [_, unit, hook] => hooks.answer(unit, hook),
            _ => ExecScript::default(),
        });
        scenario.start_controller().await;
        scenario
    }

    pub async fn start_controller(&mut self) {
        let charm_host = Arc::new(CharmHost::new(Limits::default()));
        let parts = Parts {
            environment: "test".parse().unwrap(),
            series: "bookworm".into(),
            prefix: self.prefix.clone(),
            origin: Origin { kind: self.kind.clone(), user: "me".into() },
            folder: Some(self.folder.path().to_owned()),
            log_size: api::LOG_SIZE,
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

    pub(super) fn controller(&self) -> &Controller {
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
        self.ask(deployment(charm, service, (units, None))).await
    }

    /// One unit, on a machine that is there already.
    pub async fn deploy_to(&self, charm: &str, machine: &str) {
        self.ask(deployment(charm, charm, (1, Some(machine)))).await.unwrap();
    }

    pub async fn upgrade(&self, service: &str, charm: &str, force: bool) -> Result<Done, Refusal> {
        self.ask(api::UpgradeCharm { service: service.into(), charm: Some(files(charm)), force }).await
    }

    pub async fn add_unit(&self, service: &str) {
        self.ask(api::AddUnit { service: service.into(), units: 1, to: None }).await.unwrap();
    }

    pub async fn add_unit_to(&self, service: &str, machine: &str) {
        self.ask(api::AddUnit { service: service.into(), units: 1, to: Some(machine.into()) }).await.unwrap();
    }

    pub async fn relate(&self, one: &str, other: &str) {
        self.ask(api::AddRelation { endpoints: vec![one.into(), other.into()] }).await.unwrap();
    }

    pub async fn destroy_relation(&self, one: &str, other: &str, force: bool) {
        self.ask(api::DestroyRelation { endpoints: vec![one.into(), other.into()], force }).await.unwrap();
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

    /// From now on, whenever it runs.
    pub fn fail_hook(&self, unit: &str, hook: &str) {
        self.hooks.failing.lock().unwrap().insert((unit.into(), hook.into()));
    }

    pub fn heal_hook(&self, unit: &str, hook: &str) {
        self.hooks.failing.lock().unwrap().remove(&(unit.into(), hook.into()));
    }

    /// Whenever it runs it does not end before it is released.
    pub fn hang_hook(&self, unit: &str, hook: &str) {
        self.hooks.hanging.lock().unwrap().insert((unit.into(), hook.into()), watch::Sender::new(false));
    }

    pub fn release_hook(&self, unit: &str, hook: &str) {
        if let Some(hanging) = self.hooks.hanging.lock().unwrap().remove(&(unit.into(), hook.into())) {
            hanging.send_replace(true);
        }
    }

    /// Each hook as it began on its machine, e.g. `db/0 install`: also those that failed or were cut off.
    pub fn begun(&self) -> Vec<String> {
        self.hooks.begun.lock().unwrap().clone()
    }

    pub fn begun_of(&self, unit: &str) -> Vec<String> {
        let own = format!("{unit} ");
        self.begun().iter().filter_map(|hook| hook.strip_prefix(&own).map(str::to_owned)).collect()
    }

    /// The failed hook counts as run.
    pub async fn resolve(&self, unit: &str) {
        self.ask(api::Resolved { unit: unit.into(), retry: false }).await.unwrap();
    }

    /// The failed hook runs again, and succeeds this time.
    pub async fn mend(&self, unit: &str, hook: &str) {
        self.heal_hook(unit, hook);
        self.ask(api::Resolved { unit: unit.into(), retry: true }).await.unwrap();
    }

    /// Behind the controller's back.
    pub fn stop_instance(&self, machine: u32) {
        self.provider.stop_behind(&self.instance(machine));
    }

    pub fn instance(&self, machine: u32) -> InstanceName {
        InstanceName::new(format!("me-test-machine-{machine}")).unwrap()
    }

    pub async fn status(&self) -> EnvironmentStatus {
        self.ask(api::Status { patterns: vec![] }).await.unwrap()
    }
}

fn deployment(charm: &str, service: &str, (units, to): (u32, Option<&str>)) -> api::Deploy {
    api::Deploy {
        charm: files(charm),
        service: Some(service.to_owned()),
        units,
        to: to.map(str::to_owned),
        config: Default::default(),
        constraints: None,
        expose: false,
    }
}

fn files(charm: &str) -> CharmSource {
    let files = [("charm.lua".to_owned(), BASE64_STANDARD.encode(source(charm).as_bytes()))].into();
    CharmSource::Files { path: format!("./{charm}"), files }
}

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_millis() as i64
}
