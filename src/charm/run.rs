//! Runs a hook: context in, outcome out, each in a fresh VM.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Lua, Table, Value};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::model::Hook;
use crate::model::names::JUJU_INFO;

use super::fault::{Fault, FaultKind, Frame, cut};
use super::host::Host;
use super::journal::Journal;
use super::json::to_json;
use super::lua_globals::{Globals, declared};
use super::lua_unit::{Declared, UnitParts};
use super::scene::{Draft, Scene};
use super::secret::Secrets;
use super::source::MAIN;
use super::vm::{Limits, Vm, compile};
mod action;
pub use action::{ActionContext, ActionOutcome};

use super::{CharmFiles, HookContext, HookOutcome, HookSink, MachineAccess, lua_machine, lua_relation, lua_unit};

/// Bytes of an error's one line, and of its whole message.
const MAX_SUMMARY: usize = 400;
const MAX_MESSAGE: usize = 8 << 10;

/// Runs charms. One for a process: it bounds how many VMs there are.
///
/// # Assumptions
/// The runtime that polls its futures has threads with a stack of [`super::vm::STACK_SIZE`].
pub struct CharmHost {
    pub(super) limits: Limits,
    vms: Semaphore,
}

/// Why a hook failed. Secrets are replaced in all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookError {
    pub kind: FaultKind,
    message: String,
    at: Option<Frame>,
    source_line: Option<String>,
    frames: Vec<Frame>,
    /// The last lines that the last command said.
    output: Vec<String>,
}

impl HookError {
    /// One line for a status: where, and what.
    pub fn summary(&self) -> String {
        let first = self.message.lines().next().unwrap_or_default();
        let whole = match &self.at {
            Some(at) => format!("{}:{}: {first}", at.file, at.line),
            None => first.to_owned(),
        };
        cut(&whole, MAX_SUMMARY).to_owned()
    }

    /// Everything: the message, the source line, the traceback, the last output.
    pub fn report(&self) -> String {
        let mut text = match &self.at {
            Some(at) => format!("{}:{}: {}", at.file, at.line, self.message),
            None => self.message.clone(),
        };
        if let (Some(at), Some(line)) = (&self.at, &self.source_line) {
            text += &format!("\n{:>5} | {line}", at.line);
        }
        if !self.frames.is_empty() {
            text += "\ntraceback:";
            self.frames.iter().for_each(|frame| text += &format!("\n  {frame}"));
        }
        if !self.output.is_empty() {
            text += "\nlast output:";
            self.output.iter().for_each(|line| text += &format!("\n  {line}"));
        }
        text
    }
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

impl std::error::Error for HookError {}

/// What is called in a charm.
pub(super) enum Entry {
    Prepare,
    Hook(String),
    Action(String),
}

/// A VM in which `charm.lua` was evaluated.
pub(super) struct Evaluated {
    pub(super) vm: Vm,
    host: Arc<Host>,
    pub(super) declaration: Table,
    /// Methods that reach the machine.
    methods: Table,
}

impl CharmHost {
    pub fn new(limits: Limits) -> Self {
        let vms = Semaphore::new(limits.vms);
        CharmHost { limits, vms }
    }

    /// Runs the hook that `context` names. A hook that the charm does not declare succeeds with an empty outcome.
    ///
    /// # Guarantees
    /// - Nothing of the outcome is there unless the hook returned without error.
    /// - Dropping the future drops what runs on the machine.
    pub async fn run_hook(
        &self,
        files: &CharmFiles,
        context: HookContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<HookOutcome, HookError> {
        let _slot = self.vms.acquire().await;
        let secrets = known_secrets(&context);
        let journal = Journal::new(Some(sink), secrets, self.limits.log_lines);
        let scene = self.scene(files, machine, &journal, self.limits.total);
        let draft = Draft::new(context);
        let result = self.hook(&scene, &draft).await;
        result.map_err(|fault| explain(&fault, files, &journal))
    }

    /// Runs the charm's `prepare` step, if it has one.
    pub async fn prepare(
        &self,
        files: &CharmFiles,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<(), HookError> {
        let _slot = self.vms.acquire().await;
        let journal = Journal::new(Some(sink), Secrets::default(), self.limits.log_lines);
        let scene = self.scene(files, machine, &journal, self.limits.total);
        let result = self.prepare_step(&scene).await;
        result.map_err(|fault| explain(&fault, files, &journal))
    }

    fn scene(
        &self,
        files: &CharmFiles,
        machine: Arc<dyn MachineAccess>,
        journal: &Arc<Journal>,
        limit: Duration,
    ) -> Arc<Scene> {
        let deadline = Instant::now() + limit;
        Arc::new(Scene { machine, files: Arc::new(files.clone()), journal: journal.clone(), deadline })
    }

    async fn prepare_step(&self, scene: &Arc<Scene>) -> Result<(), Fault> {
        let mut charm = self.evaluate(scene).await?;
        let Some(function) = function(&charm.declaration, &Entry::Prepare) else { return Ok(()) };
        let machine = lua_machine::object(charm.vm.lua(), &charm.host, charm.methods);
        let machine = machine.map_err(|error| Fault::internal(&error))?;
        charm.vm.run::<()>(function, machine, scene.deadline).await
    }

    async fn hook(&self, scene: &Arc<Scene>, draft: &Arc<Draft>) -> Result<HookOutcome, Fault> {
        let mut charm = self.evaluate(scene).await?;
        let entry = Entry::Hook(draft.context.hook.to_string());
        let Some(function) = function(&charm.declaration, &entry) else { return Ok(HookOutcome::default()) };
        let (unit, relation) = charm.tables(scene, draft).map_err(|error| Fault::internal(&error))?;
        charm.vm.run::<()>(function, (unit.object, relation), scene.deadline).await?;
        written(&unit.state, scene, draft)
    }

    pub(super) async fn evaluate(&self, scene: &Arc<Scene>) -> Result<Evaluated, Fault> {
        let (mut host, mut methods) = (None, None);
        let globals = Globals { journal: &scene.journal, files: &scene.files, limits: &self.limits, runs: true };
        let vm = Vm::new(self.limits.clone(), |lua, meter| {
            let made = Host::new(lua)?;
            globals.install(lua, &made, meter)?;
            methods = Some(lua_machine::methods(lua, meter, scene)?);
            host = Some(Arc::new(made));
            Ok(())
        });
        let mut vm = vm.map_err(|error| Fault::internal(&error))?;
        let declaration = evaluate(&mut vm, &scene.files, &self.limits, scene.deadline).await?;
        match (host, methods) {
            (Some(host), Some(methods)) => Ok(Evaluated { vm, host, declaration, methods }),
            _ => Err(Fault { kind: FaultKind::Internal, message: "no host functions".to_owned(), frames: vec![] }),
        }
    }
}

/// Evaluates `charm.lua`: the table that it declares.
pub(super) async fn evaluate(
    vm: &mut Vm,
    files: &CharmFiles,
    limits: &Limits,
    deadline: Instant,
) -> Result<Table, Fault> {
    let Some(source) = files.get(MAIN) else { return Err(raised(format!("the charm has no {MAIN}"))) };
    let main = compile(vm.lua(), MAIN, source, limits)?;
    let returned: Value = vm.run(main, (), deadline).await?;
    declared(vm.lua(), &returned).map_err(raised)
}

/// What a function that has returned asks to be committed.
fn written(state: &Table, scene: &Scene, draft: &Draft) -> Result<HookOutcome, Fault> {
    let state = to_json(state, "unit.state", &scene.journal.secrets).map_err(raised)?;
    let state = (state != draft.context.state).then_some(state);
    Ok(HookOutcome { state, ..draft.outcome() })
}

fn raised(message: String) -> Fault {
    Fault { kind: FaultKind::Raised, message, frames: vec![] }
}

pub(super) fn function(declaration: &Table, entry: &Entry) -> Option<mlua::Function> {
    match entry {
        Entry::Prepare => declaration.raw_get("prepare").ok(),
        Entry::Hook(name) => declaration.raw_get::<Table>("hooks").ok()?.raw_get(name.as_str()).ok(),
        Entry::Action(name) => action::declared(declaration, name)?.raw_get("run").ok(),
    }
}

impl Evaluated {
    /// `unit`, and `relation` or nil.
    pub(super) fn tables(&self, scene: &Scene, draft: &Arc<Draft>) -> mlua::Result<(lua_unit::Unit, Value)> {
        let (lua, secrets) = (self.vm.lua(), &scene.journal.secrets);
        let names = |key: &str| names(&self.declaration, key);
        let mut endpoints: BTreeSet<String> = ["provides", "requires", "peers"].into_iter().flat_map(names).collect();
        endpoints.insert(JUJU_INFO.to_owned());
        let declared = Declared { endpoints, options: names("config").into_iter().collect() };
        let methods = self.methods.clone();
        let unit = lua_unit::object(lua, UnitParts { host: &self.host, draft, declared, secrets, methods })?;
        Ok((unit, self.relation(lua, draft, secrets)?))
    }

    /// The relation that the hook is about, or nil.
    fn relation(&self, lua: &Lua, draft: &Arc<Draft>, secrets: &Secrets) -> mlua::Result<Value> {
        let Hook::Relation { relation, kind, .. } = &draft.context.hook else { return Ok(Value::Nil) };
        let about = (*relation, kind.remote().cloned());
        lua_relation::object(lua, &self.host, (draft, secrets), about).map(Value::Table)
    }
}

/// Keys of a table inside the declaration.
fn names(declaration: &Table, key: &str) -> Vec<String> {
    let table = declaration.raw_get::<Table>(key).ok();
    let keys = |table: Table| table.pairs::<String, Value>().filter_map(|pair| Some(pair.ok()?.0)).collect();
    table.map(keys).unwrap_or_default()
}

/// Secrets that are in a hook's context from the start.
pub(super) fn known_secrets(context: &HookContext) -> Secrets {
    let secrets = Secrets::default();
    let options = context.config.iter().filter(|(key, _)| context.secret_config.contains(*key));
    options.for_each(|(_, value)| secrets.add(&value.to_string()));
    let leader = context.leader_settings.values().filter(|setting| setting.secret);
    leader.for_each(|setting| secrets.add(&setting.value));
    for relation in context.relations.values() {
        let departed = relation.departed.iter().map(|(_, settings)| settings);
        let all = relation.remotes.values().chain([&relation.local]).chain(departed);
        all.flat_map(|settings| settings.values())
            .filter(|setting| setting.secret)
            .for_each(|setting| secrets.add(&setting.value));
    }
    secrets
}

pub(super) fn explain(fault: &Fault, files: &CharmFiles, journal: &Journal) -> HookError {
    let redact = |text: &str, limit| journal.secrets.redact(text, limit);
    let at = fault.at().cloned();
    let source_line = at.as_ref().and_then(|at| source_line(files, &at.file, at.line));
    HookError {
        kind: fault.kind,
        message: redact(&fault.message, MAX_MESSAGE),
        source_line: source_line.map(|line| redact(&line, MAX_SUMMARY)),
        at,
        frames: fault.frames.clone(),
        output: journal.tail(),
    }
}

/// Line `line`, counted from 1, of a file of the charm or the standard library.
pub(super) fn source_line(files: &CharmFiles, file: &str, line: usize) -> Option<String> {
    let content = match file.strip_prefix("@std/") {
        Some(name) => super::source::stdlib_file(name)?.into_owned(),
        None => files.get(file)?.clone(),
    };
    let text = String::from_utf8_lossy(&content);
    text.lines().nth(line.checked_sub(1)?).map(|line| line.trim_end().to_owned())
}
