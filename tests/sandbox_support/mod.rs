//! Charms as texts, hooks as values: what the tests of the charm host share.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use encanto::charm::fake::{FakeMachine, FakeSink};
use encanto::charm::{CharmFiles, CharmHost, HookContext, HookError, HookOutcome, Limits, RelationContext};
use encanto::model::{Hook, MachineId, RelationHook, RelationId, Setting, Settings};

/// Runs a test on a runtime with the stack that charms need, real time.
pub fn on_runtime<F: Future<Output = ()> + Send + 'static>(test: F) {
    run(test, false);
}

/// The same on a paused clock: sleeps end at once.
pub fn on_paused_clock<F: Future<Output = ()> + Send + 'static>(test: F) {
    run(test, true);
}

fn run<F: Future<Output = ()> + Send + 'static>(test: F, paused: bool) {
    let thread = std::thread::Builder::new().stack_size(encanto::charm::vm::STACK_SIZE).spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(paused).build().unwrap().block_on(test);
    });
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn short_limits() -> Limits {
    Limits { busy: Duration::from_millis(200), total: Duration::from_secs(20), ..Limits::default() }
}

/// The files of a charm: `charm.lua` and others.
pub fn files(main: &str, others: &[(&str, &str)]) -> CharmFiles {
    let others = others.iter().map(|(path, text)| (path.to_string(), text.as_bytes().to_vec()));
    others.chain([("charm.lua".to_owned(), main.as_bytes().to_vec())]).collect()
}

/// A charm whose install hook has this body.
pub fn install(body: &str) -> CharmFiles {
    files(
        &format!(
            "return charm {{ name = \"app\", summary = \"s\", series = {{ \"bookworm\" }},\n\
             provides = {{ db = \"mysql\" }}, config = {{ password = {{ type = \"string\", secret = true }} }},\n\
             hooks = {{ install = function(unit)\n{body}\nend }} }}"
        ),
        &[],
    )
}

pub fn context(hook: Hook) -> HookContext {
    HookContext {
        hook,
        unit: "app/0".parse().unwrap(),
        machine: MachineId::new(1),
        private_address: "10.0.3.7".into(),
        public_address: "10.0.3.7".into(),
        is_leader: true,
        leader: Some("app/0".parse().unwrap()),
        leader_settings: Settings::new(),
        config: Default::default(),
        secret_config: BTreeSet::new(),
        state: Default::default(),
        open_ports: BTreeSet::new(),
        relations: BTreeMap::new(),
    }
}

/// A context in which `app/0` is related by `db:4` to `wiki/0` and `wiki/1`.
pub fn related(kind: RelationHook) -> HookContext {
    let settings = |host: &str| {
        Settings::from([("host".into(), Setting::plain(host)), ("token".into(), Setting::secret("t0ken!"))])
    };
    let relation = RelationContext {
        endpoint: "db".parse().unwrap(),
        remote_service: "wiki".parse().unwrap(),
        local: Settings::from([("old".into(), Setting::plain("1"))]),
        remotes: [("wiki/0", "a"), ("wiki/1", "b")].map(|(unit, host)| (unit.parse().unwrap(), settings(host))).into(),
        departed: None,
    };
    let hook = Hook::Relation { relation: RelationId(4), endpoint: "db".parse().unwrap(), kind };
    HookContext { relations: BTreeMap::from([(RelationId(4), relation)]), ..context(hook) }
}

/// A host, a machine and what the hooks said.
pub struct Stage {
    pub host: CharmHost,
    pub machine: Arc<FakeMachine>,
    pub sink: Arc<FakeSink>,
}

impl Stage {
    pub fn new(limits: Limits) -> Self {
        Stage { host: CharmHost::new(limits), machine: FakeMachine::new(), sink: FakeSink::new() }
    }

    pub async fn hook(&self, files: &CharmFiles, context: HookContext) -> Result<HookOutcome, HookError> {
        self.host.run_hook(files, context, self.machine.clone(), self.sink.clone()).await
    }

    /// Runs an install hook with this body.
    pub async fn install(&self, body: &str) -> Result<HookOutcome, HookError> {
        self.hook(&install(body), context(Hook::Install)).await
    }
}
