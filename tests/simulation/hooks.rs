//! Hooks without Lua: they do what hooks do to a model, fail and hang as the dice say, and the oracle sees each begin
//! and end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use encanto::charm::{
    ActionContext, ActionOutcome, CharmFiles, ExecCall, HookContext, HookOutcome, HookSink, MachineAccess, OutputLines,
    RelationContext,
};
use encanto::model::{Hook, Port, Protocol, RelationHook, Setting, SettingsChange, WorkloadState, WorkloadStatus};
use encanto::worker::hook_runner::{HookFailure, HookRunner};

use crate::charms::declares;
use crate::oracle::End;
use crate::sim::{Fate, Sim};

pub struct FakeHooks(pub Arc<Sim>);

/// Tells the oracle how a hook ends, also if it is cut off.
struct Running {
    sim: Arc<Sim>,
    context: HookContext,
    end: End,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.sim.state();
        state.say(&format!("    {} of {} {:?}", shown(&self.context.hook), self.context.unit, self.end));
        state.oracle.ends(&self.context, self.end);
        let now = state.now();
        let late = state.removed.get(&self.context.unit).is_some_and(|at| now - at > SOON);
        if late && self.end != End::CutOff {
            state.problems.push(format!("{} went on after {} was removed", self.context.hook, self.context.unit));
        }
        let cancelled = state.cancelled.get(&self.context.unit).is_some_and(|at| now - at > SOON);
        if cancelled && self.end != End::CutOff && matches!(self.context.hook, Hook::Action(_)) {
            state
                .problems
                .push(format!("{} of {} went on after it was cancelled", self.context.hook, self.context.unit));
        }
    }
}

/// Some hundred are usual.
const MOST_HOOKS: u64 = 20_000;

/// Milliseconds within which a hook is cut off: a write, and those who are told of it.
const SOON: i64 = 5_000;

/// What the dice say about one hook.
struct Course {
    fate: Fate,
    delay: Duration,
    /// Runs a command in the machine.
    works: bool,
}

impl FakeHooks {
    fn begin(&self, context: &HookContext) -> Course {
        let mut state = self.0.state();
        state.say(&format!("    {} of {} begins", shown(&context.hook), context.unit));
        state.hooks_run += 1;
        // Hooks that follow each other without end let no time go by: nobody else would come to a word.
        assert!(
            state.hooks_run < MOST_HOOKS,
            "hooks follow each other without end: {} of {}",
            context.hook,
            context.unit
        );
        state.oracle.begins(context);
        let faults = state.faults;
        let named = (context.unit.clone(), context.hook.to_string());
        let broken = state.broken.contains(&named);
        let fate = match () {
            () if state.rng.chance(faults.crashes) => Fate::Crash,
            () if broken => Fate::FailsAfter,
            () if !state.rng.chance(faults.hooks) => Fate::Well,
            () if state.rng.chance(500) => Fate::FailsBefore,
            () => Fate::FailsAfter,
        };
        if matches!(fate, Fate::FailsBefore | Fate::FailsAfter) && !broken && state.rng.chance(faults.for_good) {
            state.broken.insert(named);
        }
        // Else there would be little to cancel.
        let hangs = if matches!(context.hook, Hook::Action(_)) { 6 * faults.hangs } else { faults.hangs };
        let millis = match () {
            () if state.rng.chance(hangs) => 30_000 + state.rng.below(270_000),
            () if faults.delay > 0 && state.rng.chance(500) => state.rng.below(2 * faults.delay),
            () => 0,
        };
        Course { fate, delay: Duration::from_millis(millis), works: state.rng.chance(500) }
    }

    /// A hook or an action, which may have a limit of time, from its beginning to its end.
    async fn run(
        &self,
        context: HookContext,
        limit: Option<Duration>,
        (machine, sink): (Arc<dyn MachineAccess>, Arc<dyn HookSink>),
    ) -> Result<HookOutcome, HookFailure> {
        self.0.alive().await;
        let course = self.begin(&context);
        let mut running = Running { sim: self.0.clone(), context, end: End::CutOff };
        let late = limit.filter(|limit| *limit < course.delay);
        if course.delay > Duration::ZERO {
            tokio::time::sleep(late.unwrap_or(course.delay)).await;
        }
        self.0.alive().await;
        let result = match course.fate {
            Fate::Crash => {
                self.0.crash();
                std::future::pending().await
            }
            _ if late.is_some() => Err(failure("it took too long")),
            Fate::FailsBefore => Err(failure("no luck")),
            Fate::FailsAfter if course.works => {
                let worked = self.work(machine.as_ref(), "half").await;
                worked.and_then(|()| Err(failure("no luck at the end")))
            }
            Fate::FailsAfter => Err(failure("no luck at the end")),
            Fate::Well if course.works => self.work(machine.as_ref(), "whole").await,
            Fate::Well => Ok(()),
        };
        if result.is_ok() || course.fate == Fate::FailsAfter {
            sink.status(status_of(&running.context));
        }
        running.end = if result.is_ok() { End::Returned } else { End::Failed };
        result.map(|()| outcome(&running.context))
    }

    async fn work(&self, machine: &dyn MachineAccess, what: &str) -> Result<(), HookFailure> {
        let call = ExecCall { argv: vec!["hook".to_owned(), what.to_owned()], ..ExecCall::default() };
        let lines: OutputLines = Arc::new(|_, _| {});
        machine.exec(call, lines).await.map(|_| ()).map_err(|error| failure(&error.to_string()))
    }
}

#[async_trait]
impl HookRunner for FakeHooks {
    async fn run_hook(
        &self,
        _files: &CharmFiles,
        context: HookContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<HookOutcome, HookFailure> {
        self.run(context, None, (machine, sink)).await
    }

    async fn run_action(
        &self,
        files: &CharmFiles,
        context: ActionContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<ActionOutcome, HookFailure> {
        let ActionContext { hook, timeout, .. } = context;
        let declared = matches!(&hook.hook, Hook::Action(name) if declares(files, name));
        if !declared {
            return Err(failure("the charm does not declare the action any more"));
        }
        let writes = self.run(hook, timeout, (machine, sink)).await?;
        Ok(ActionOutcome { writes, ..ActionOutcome::default() })
    }

    async fn prepare(
        &self,
        _files: &CharmFiles,
        machine: Arc<dyn MachineAccess>,
        _sink: Arc<dyn HookSink>,
    ) -> Result<(), HookFailure> {
        match self.0.fate("prepare").await {
            Fate::FailsBefore => return Err(failure("no software")),
            Fate::Crash => self.0.crash(),
            _ => {}
        }
        self.0.alive().await;
        self.work(machine.as_ref(), "prepare").await
    }
}

fn failure(words: &str) -> HookFailure {
    HookFailure { summary: words.to_owned(), report: words.to_owned() }
}

fn status_of(context: &HookContext) -> WorkloadStatus {
    let state = if context.relations.len().is_multiple_of(2) { WorkloadState::Active } else { WorkloadState::Waiting };
    WorkloadStatus { state, message: context.hook.to_string() }
}

/// What it writes follows from what it sees, so that units which answer each other come to an end.
fn outcome(context: &HookContext) -> HookOutcome {
    let mut outcome = HookOutcome::default();
    let count = |key: &str| context.state.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0) + 1;
    let size = context.config.get("size").map_or_else(|| "none".to_owned(), ToString::to_string);
    match &context.hook {
        Hook::Start => drop(outcome.opened.insert(port(80))),
        Hook::LeaderElected => outcome.leader_settings = set("leader", &context.unit.to_string()),
        Hook::ConfigChanged => {
            for id in context.relations.keys() {
                outcome.relation_settings.insert(*id, set("size", &size));
            }
            if context.is_leader {
                outcome.leader_settings = set("size", &size);
            }
            let ports = if size.len().is_multiple_of(2) { &mut outcome.opened } else { &mut outcome.closed };
            ports.insert(port(443));
        }
        // Other than the time before.
        Hook::Action(_) => {
            let said = count("actions").to_string();
            for id in context.relations.keys() {
                outcome.relation_settings.insert(*id, set("acted", &said));
            }
            if context.is_leader {
                outcome.leader_settings = set("acted", &said);
            }
            let ports = if count("actions").is_multiple_of(2) { &mut outcome.closed } else { &mut outcome.opened };
            ports.insert(port(9000));
        }
        Hook::Relation { relation, kind: RelationHook::Joined(remote), .. } => {
            outcome.relation_settings.insert(*relation, set(&format!("for-{remote}"), "welcome"));
        }
        Hook::Relation { relation, kind: RelationHook::Changed(remote), .. } => {
            let said = context.relations.get(relation).and_then(|relation| size_of(relation, remote));
            let answer = set(&format!("from-{remote}"), &said.unwrap_or_default());
            outcome.relation_settings.insert(*relation, answer);
        }
        Hook::Relation { relation, kind: RelationHook::Departed(remote), .. } => {
            let forgotten = SettingsChange::from([(format!("for-{remote}"), None)]);
            outcome.relation_settings.insert(*relation, forgotten);
        }
        _ => {}
    }
    let counted = match &context.hook {
        Hook::UpdateStatus => return outcome,
        Hook::Action(_) => "actions",
        _ => "hooks",
    };
    let mut state = context.state.clone();
    state.insert(counted.to_owned(), count(counted).into());
    outcome.state = Some(state);
    outcome
}

fn size_of(relation: &RelationContext, remote: &encanto::model::UnitName) -> Option<String> {
    Some(relation.remotes.get(remote)?.get("size")?.value.clone())
}

fn set(key: &str, value: &str) -> SettingsChange {
    SettingsChange::from([(key.to_owned(), Some(Setting::plain(value)))])
}

fn port(number: u16) -> Port {
    Port { protocol: Protocol::Tcp, number }
}

fn shown(hook: &Hook) -> String {
    match hook {
        Hook::Relation { relation, kind, .. } => match kind.remote() {
            Some(remote) => format!("{hook} {remote} ({relation})"),
            None => format!("{hook} ({relation})"),
        },
        _ => hook.to_string(),
    }
}
