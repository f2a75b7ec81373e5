//! Actions of a unit, one at a time, alone on their machine.

use std::sync::Arc;

use tokio::time::sleep;

use crate::charm::{ActionOutcome, HookSink};
use crate::model::{Action, ActionEnd, ActionId, Change, HookWrites, LogLevel, UnitActivity, UnitName};
use crate::plan::actions::{self, ActionStep};
use crate::provider::InstanceName;

use super::access::Access;
use super::activity::Activity;
use super::context::PreparedAction;
use super::driver::Next;
use super::ledger::LedgerError;
use super::unit_agent::{self, Sink};
use super::{RETRY, World, chain, context};

/// Runs what is asked of one unit until nothing is due.
pub async fn reconcile(world: World, name: UnitName) -> Next {
    loop {
        let step = actions::next(&world.ledger.model(), &name);
        let went_on = match step {
            None => return Next::Rest,
            Some(ActionStep::CutOff(action)) => cut_off(&world, action).await,
            Some(ActionStep::Run(_)) if !world.is_open() => return Next::Rest, // everyone is nudged when it is
            Some(ActionStep::Run(action)) => run(&world, &name, action).await,
        };
        match went_on {
            // Refused: the world has moved on.
            Ok(()) | Err(LedgerError::Refused(_)) => {}
            Err(LedgerError::Stopped) => return Next::Rest,
            Err(error @ LedgerError::Journal(_)) => {
                tracing::error!("unit {name}: {error}");
                return Next::After(RETRY);
            }
        }
    }
}

const BY: &str = "@action-agent";

const INTERRUPTED: &str = "interrupted: the controller ended while it ran";
const CANCELLED: &str = "cancelled while it ran";

/// The controller of this action ended first.
async fn cut_off(world: &World, id: ActionId) -> Result<(), LedgerError> {
    let found = {
        let model = world.ledger.model();
        let found = model.actions.get(&id).cloned();
        found.and_then(|action| Some((model.units.get(&action.unit)?.machine, action)))
    };
    let Some((machine, action)) = found else { return Ok(()) };
    let end = match action.state.goes_on() {
        true => ActionEnd::Failed { message: INTERRUPTED.to_owned() },
        false => ActionEnd::Cancelled { message: CANCELLED.to_owned() },
    };
    tell_end(&Sink::new(world, Some(action.unit.clone()), machine, module(&action)), id, &end);
    world.ledger.commit(BY, Change::EndAction { action: id, end, writes: Box::default() }).await.map(drop)
}

/// What the log calls it: whoever waits for it hears it by that.
fn module(action: &Action) -> String {
    format!("{}-action-{}", action.name, action.id)
}

fn tell_end(sink: &Sink, id: ActionId, end: &ActionEnd) {
    let level = match end {
        ActionEnd::Completed { .. } => LogLevel::Info,
        ActionEnd::Cancelled { .. } => LogLevel::Warning,
        ActionEnd::Failed { .. } => LogLevel::Error,
    };
    sink.log(level, format!("action {id} {}: {}", end.as_str(), end.message()).trim_end_matches([':', ' ']));
}

/// Runs the action if it is still due, to its end in the journal.
async fn run(world: &World, name: &UnitName, id: ActionId) -> Result<(), LedgerError> {
    let Some(machine) = world.ledger.model().units.get(name).map(|unit| unit.machine) else { return Ok(()) };
    // Until all is committed: a hook that comes next is to see what the action wrote.
    let _alone = world.locks.hold(machine).await;
    if actions::next(&world.ledger.model(), name) != Some(ActionStep::Run(id)) {
        return Ok(());
    }
    world.ledger.commit(BY, Change::StartAction { action: id }).await?;
    let begun = world.ledger.model().actions.get(&id).filter(|action| action.state.goes_on()).cloned();
    // Cancelled already: the next look says so.
    let Some(action) = begun else { return Ok(()) };
    let doing = UnitActivity::Action { id, name: action.name.clone() };
    let activity = Activity::begin(&world.ledger, name, doing);
    let sink = Arc::new(Sink::new(world, Some(name.clone()), machine, module(&action)));
    sink.log(LogLevel::Info, &format!("action {id} begins, asked for by `{}`", action.by));
    let stopped = world.ledger.until_gone(|model| !model.actions.get(&id).is_some_and(|now| now.state.goes_on()));
    // What is left of the work is dropped, and with it ends what runs in the machine.
    let worked = tokio::select! {
        biased;
        worked = work(world, &action, sink.clone()) => worked,
        () = stopped => Err(ActionEnd::Cancelled { message: CANCELLED.to_owned() }),
    };
    drop(activity);
    let (end, writes) = match worked {
        Ok((results, writes)) => (ActionEnd::Completed { results }, writes),
        Err(end) => (end, HookWrites::default()),
    };
    tell_end(&sink, id, &end);
    end_it(world, Change::EndAction { action: id, end, writes: Box::new(writes) }).await
}

type Results = serde_json::Map<String, serde_json::Value>;

/// What the charm does, or how it failed.
async fn work(world: &World, action: &Action, sink: Arc<Sink>) -> Result<(Results, HookWrites), ActionEnd> {
    let failed = |message: String| ActionEnd::Failed { message };
    let prepared = context::of_action(&world.ledger.model(), action);
    let Some(PreparedAction { context: given, seen, digest, instance }) = prepared else {
        return Err(failed(format!("unit {} is gone", action.unit)));
    };
    let files = world.charms.files(&digest).await.map_err(|error| failed(chain(&error)))?;
    let instance = InstanceName::new(instance).map_err(|error| failed(chain(&error)))?;
    let access = Arc::new(Access::new(world.provider.clone(), instance));
    let ran = world.hooks.run_action(&files, given, access, sink.clone()).await;
    let ActionOutcome { writes, results } = ran.map_err(|error| failed(unit_agent::failed(sink.as_ref(), &error)))?;
    Ok((results, context::writes(seen, writes)))
}

/// The action has run and will not run again: its end is offered until the journal takes it.
async fn end_it(world: &World, change: Change) -> Result<(), LedgerError> {
    loop {
        match world.ledger.commit(BY, change.clone()).await {
            Err(error @ LedgerError::Journal(_)) => {
                tracing::error!("the end of an action: {error}");
                sleep(RETRY).await;
            }
            other => return other.map(drop),
        }
    }
}
