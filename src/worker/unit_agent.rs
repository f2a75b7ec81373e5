//! Units: their hooks, one at a time on each machine.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::charm::{HookContext, HookOutcome, HookSink};
use crate::model::{
    Change, Charm, Hook, HookWrites, LogLevel, MachineId, Model, Provision, UnitActivity, UnitName, WorkloadStatus,
};
use crate::plan::hooks::{self, UnitStep};
use crate::provider::InstanceName;

use super::access::Access;
use super::debugging::{DueHook, Verdict};
use super::driver::Next;
use super::hook_runner::HookFailure;
use super::ledger::LedgerError;
use super::locks::Held;
use super::{RETRY, World, chain, context};

/// What the agents of all units share.
#[derive(Clone, Default)]
pub struct Agents {
    /// When update-status ran last, or was first seen to be wanted.
    pulses: Arc<Mutex<HashMap<UnitName, Instant>>>,
}

impl Agents {
    /// How long until update-status is due for a unit at rest; zero is now. `None` if it is not wanted.
    fn pulse(&self, world: &World, name: &UnitName) -> Option<Duration> {
        let every = world.update_status?;
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        if !hooks::wants_update_status(&world.ledger.model(), name) {
            pulses.remove(name);
            return None;
        }
        let now = Instant::now();
        let last = pulses.entry(name.clone()).or_insert(now);
        let left = every.saturating_sub(now.duration_since(*last));
        if left.is_zero() {
            *last = now;
        }
        Some(left)
    }
}

/// Looks after one unit until nothing is due for it.
pub async fn reconcile(world: World, agents: Agents, name: UnitName) -> Next {
    loop {
        let step = hooks::next(&world.ledger.model(), &name);
        // Kept until the change is made: what a hook wrote must be there before anything else reads it.
        let mut held = None;
        let change = match step {
            None => match (retry(&world, &name), agents.pulse(&world, &name)) {
                (None, None) => return Next::Rest,
                (Some(delay), _) if !delay.is_zero() => return Next::After(delay),
                (Some(_), _) => Change::Resolve { unit: name.clone(), retry: true },
                (None, Some(delay)) if !delay.is_zero() => return Next::After(delay),
                (None, Some(_)) => match run(&world, &name, Hook::UpdateStatus, &mut held).await {
                    // One that wrote nothing leaves no trace: a year of them does not grow the journal.
                    Some(Change::CommitHook { writes, .. }) if writes.is_empty() => {
                        idle(&world, &name);
                        continue;
                    }
                    Some(change) => change,
                    None => continue,
                },
            },
            Some(UnitStep::Admit(relation)) => Change::AdmitScope { unit: name.clone(), relation },
            Some(UnitStep::Leave(relation)) => Change::LeaveScope { unit: name.clone(), relation },
            Some(UnitStep::Finish) => Change::UnitDone { unit: name.clone() },
            Some(UnitStep::Run(hook)) => {
                if !world.is_open() {
                    return Next::Rest; // everyone is nudged when it is
                }
                match run(&world, &name, hook, &mut held).await {
                    Some(change) => change,
                    None => continue, // the world has moved on: look again
                }
            }
        };
        let committed = world.ledger.commit("@unit-agent", change).await;
        // Not before: in between nothing would be due and nothing would run, and `wait` would call that rest.
        idle(&world, &name);
        match committed {
            Ok(_) | Err(LedgerError::Refused(_)) => {}
            Err(LedgerError::Stopped) => return Next::Rest,
            Err(error @ LedgerError::Journal(_)) => {
                tracing::error!("unit {name}: {error}");
                return Next::After(RETRY);
            }
        }
    }
}

/// How long until the failed hook of this unit is run again, if it has one; zero is now.
fn retry(world: &World, name: &UnitName) -> Option<Duration> {
    let model = world.ledger.model();
    let unit = model.units.get(name)?;
    // Its agent is nudged when the machine is up again.
    model.machines.get(&unit.machine).filter(|machine| machine.is_up())?;
    let left = hooks::retry_in(unit, world.retry_hooks?, world.ledger.now())?;
    Some(Duration::from_millis(left.unsigned_abs()))
}

/// Waits until nobody else works on the machine, and says so meanwhile. `None` if the unit is gone before.
async fn turn(world: &World, name: &UnitName, machine: MachineId) -> Option<Held> {
    if let Some(turn) = world.locks.try_hold(machine) {
        return Some(turn);
    }
    let awaited = UnitActivity::Turn { machine, first: at_work(world, name, machine) };
    // What an action of the unit itself does is told already.
    world.ledger.observe(|observed| {
        observed.unit_activity.entry(name.clone()).or_insert_with(|| awaited.clone());
    });
    let turn = tokio::select! {
        biased;
        turn = world.locks.hold(machine) => Some(turn),
        () = world.ledger.until_gone(|model| !model.units.contains_key(name)) => None,
    };
    world.ledger.observe(|observed| {
        if observed.unit_activity.get(name) == Some(&awaited) {
            observed.unit_activity.remove(name);
        }
    });
    turn
}

/// Which other unit has its hook on the machine now, and what it does.
fn at_work(world: &World, name: &UnitName, machine: MachineId) -> String {
    let (model, observed) = (world.ledger.model(), world.ledger.observed());
    let others = model.machines.get(&machine).into_iter().flat_map(|machine| &machine.units);
    let mut busy = others.filter(|other| *other != name).filter_map(|other| {
        let doing = observed.unit_activity.get(other).filter(|doing| !matches!(doing, UnitActivity::Turn { .. }))?;
        Some(format!("{other} ({doing})"))
    });
    busy.next().unwrap_or_else(|| "another unit".to_owned())
}

/// What a hook needs that is to run now.
struct Prepared {
    charm: Charm,
    instance: String,
    hook_context: HookContext,
    seen: HookWrites,
}

/// All of one moment of the model. `None` if the hook is not due any more.
fn prepared(model: &Model, name: &UnitName, hook: &Hook) -> Option<Prepared> {
    let due = match hooks::next(model, name) {
        None => *hook == Hook::UpdateStatus && hooks::wants_update_status(model, name),
        Some(step) => step == UnitStep::Run(hook.clone()),
    };
    let unit = model.units.get(name).filter(|_| due)?;
    let charm = model.charm_of(unit)?.clone();
    let (hook_context, seen) = context::of(model, name, hook)?;
    let Provision::Running { instance, .. } = &model.machines.get(&unit.machine)?.provision else { return None };
    Some(Prepared { charm, instance: instance.clone(), hook_context, seen })
}

/// Runs the hook, alone on its machine, and says what to commit. `None` if it was not due any more, or was cut off
/// because the unit is gone.
async fn run(world: &World, name: &UnitName, hook: Hook, held: &mut Option<Held>) -> Option<Change> {
    let machine = world.ledger.model().units.get(name)?.machine;
    *held = Some(turn(world, name, machine).await?);
    let Prepared { charm, instance, hook_context, seen } = prepared(&world.ledger.model(), name, &hook)?;
    let declared = charm.meta.declares(&hook);
    let debugged = world.debugging.wants(name, &hook, declared);
    if hook != Hook::Prepare && !declared && !debugged {
        return Some(committed(name, hook, seen));
    }
    tell_running(world, name, &hook);
    let sink = Arc::new(Sink::new(world, Some(name.clone()), machine, hook.clone()));
    // What comes every few minutes is not news.
    let level = if hook == Hook::UpdateStatus { LogLevel::Debug } else { LogLevel::Info };
    sink.log(level, "hook begins");
    let work = async {
        let files = world.charms.files(&charm.digest).await.map_err(|error| chain(&error))?;
        let instance = InstanceName::new(instance).map_err(|error| chain(&error))?;
        let access = Arc::new(Access::new(world.provider.clone(), instance.clone()));
        if hook == Hook::Prepare {
            let prepared = world.hooks.prepare(&files, access, sink.clone()).await;
            return prepared.map(|()| seen).map_err(|error| failed(sink.as_ref(), &error));
        }
        let due = DueHook { context: hook_context, files, machine: access, instance, sink: sink.clone() };
        let outcome = if debugged { ask(world, due).await } else { own(world, due).await };
        outcome.map(|outcome| context::writes(seen, outcome))
    };
    let gone = world.ledger.until_gone(|model| !model.units.contains_key(name));
    let result = tokio::select! {
        biased;
        result = work => Some(result),
        () = gone => None,
    };
    let Some(result) = result else {
        idle(world, name);
        return None;
    };
    match result {
        Ok(writes) => Some(committed(name, hook, writes)),
        Err(message) => {
            sink.log(LogLevel::Error, &format!("hook failed: \"{hook}\": {message}"));
            Some(Change::FailHook { unit: name.clone(), hook, message })
        }
    }
}

/// The unit's hook runs no more.
fn idle(world: &World, name: &UnitName) {
    let busy = world.ledger.observed().unit_activity.contains_key(name);
    if busy {
        world.ledger.observe(|observed| {
            observed.unit_activity.remove(name);
        });
    }
}

fn tell_running(world: &World, name: &UnitName, hook: &Hook) {
    world.ledger.observe(|observed| {
        observed.unit_activity.insert(name.clone(), UnitActivity::Hook(hook.clone()));
    });
}

/// Gives the hook to the operator who wants it, and does what he says.
async fn ask(world: &World, due: DueHook) -> Result<HookOutcome, String> {
    let (name, hook) = (due.context.unit.clone(), due.context.hook.clone());
    world.ledger.observe(|observed| {
        observed.unit_activity.insert(name.clone(), UnitActivity::Debugged(hook.clone()));
    });
    let verdict = world.debugging.ask(&name, due.clone()).await;
    tell_running(world, &name, &hook);
    let ran = matches!(verdict, Some(Verdict::Run(_)));
    let result = match verdict {
        Some(Verdict::Commit(outcome)) => Ok(outcome),
        Some(Verdict::Fail(message)) => Err(message),
        Some(Verdict::Run(sink)) => own(world, DueHook { sink, ..due }).await,
        None => own(world, due).await,
    };
    world.debugging.ended(&name, &hook, result.as_ref().err().map(String::as_str), ran);
    result
}

/// Runs the charm's own function.
async fn own(world: &World, due: DueHook) -> Result<HookOutcome, String> {
    let sink = due.sink.clone();
    let outcome = world.hooks.run_hook(&due.files, due.context, due.machine, due.sink).await;
    outcome.map_err(|error| failed(sink.as_ref(), &error))
}

/// The one line of what went wrong; the log has the whole.
pub(super) fn failed(sink: &dyn HookSink, error: &HookFailure) -> String {
    sink.log(LogLevel::Error, &error.report);
    error.summary.clone()
}

fn committed(name: &UnitName, hook: Hook, writes: HookWrites) -> Change {
    Change::CommitHook { unit: name.clone(), hook, writes: Box::new(writes) }
}

/// Where a hook's log lines and statuses go, at once.
pub struct Sink {
    world: World,
    unit: Option<UnitName>,
    machine: MachineId,
    module: String,
}

impl Sink {
    /// `module` is the hook or the action that speaks.
    pub fn new(world: &World, unit: Option<UnitName>, machine: MachineId, module: impl fmt::Display) -> Self {
        Sink { world: world.clone(), unit, machine, module: module.to_string() }
    }
}

impl HookSink for Sink {
    fn log(&self, level: LogLevel, line: &str) {
        match &self.unit {
            Some(unit) => self.world.logbook.unit(unit, self.machine, (level, &self.module, line)),
            None => self.world.logbook.machine_info(self.machine, &self.module, line),
        }
    }

    fn status(&self, status: WorkloadStatus) {
        if let Some(unit) = &self.unit {
            let told = format!("status {}: {}", status.state, status.message);
            self.log(LogLevel::Info, told.trim_end_matches([':', ' ']));
            self.world.ledger.submit("@unit-agent", Change::SetStatus { unit: unit.clone(), status });
        }
    }
}
