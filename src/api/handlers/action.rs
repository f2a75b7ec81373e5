//! action: list, do, show, status, cancel

use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::model::{
    Action, ActionCall, ActionDecl, ActionEnd, ActionId, ActionState, Change, ChangeError, Event, Model, ParamDecl,
    ServiceName,
};

use super::super::actions::{
    ActionInfo, ActionQueued, ActionTask, ActionTasks, ActionTasksAnswer, ActionTiming, ActionsAnswer, CancelAction,
    ListActions, ParamInfo, RunAction, ShowAction,
};
use super::super::backend::{Asker, Backend};
use super::super::requests::{Done, Refusal};
use super::super::server::Handle;
use super::super::status::LogLine;
use super::get::json;
use super::status::patterns;
use super::{name, refusal, time_text};

/// What stands in the place of a secret parameter.
const SECRET: &str = "(secret)";
/// Longest wait that a clock can be set to.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[async_trait]
impl Handle for ListActions {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<ActionsAnswer, Refusal> {
        let service: ServiceName = name(&self.service)?;
        let model = backend.model();
        let found = model.services.get(&service);
        let found = found.ok_or_else(|| refusal::of(&ChangeError::NoService(service), &model))?;
        let declared = model.charms.get(&found.charm).into_iter().flat_map(|charm| &charm.meta.actions);
        Ok(ActionsAnswer { actions: declared.map(|(name, decl)| (name.to_string(), action_info(decl))).collect() })
    }
}

fn action_info(decl: &ActionDecl) -> ActionInfo {
    let params = decl.params.iter().map(|(name, param)| (name.clone(), param_info(param)));
    ActionInfo { description: decl.description.clone(), params: params.collect() }
}

fn param_info(ParamDecl { option, required }: &ParamDecl) -> ParamInfo {
    ParamInfo {
        description: option.description.clone(),
        kind: option.kind.to_string(),
        required: *required,
        default: option.default.as_ref().map(json),
        min: option.min,
        max: option.max,
        choices: option.choices.clone(),
        secret: option.secret,
    }
}

#[async_trait]
impl Handle for RunAction {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<ActionQueued, Refusal> {
        let call = ActionCall {
            unit: name(&self.unit)?,
            name: name(&self.action)?,
            params: self.params,
            timeout: self.timeout.map(|seconds| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)),
            by: by.to_string(),
        };
        let events = backend.commit(by, Change::QueueAction(Box::new(call))).await?;
        let queued = events.iter().find_map(|event| match event {
            Event::ActionQueued { action, .. } => Some(ActionQueued { id: action.0 }),
            _ => None,
        });
        queued.ok_or_else(|| Refusal::new("the action was not queued"))
    }
}

#[async_trait]
impl Handle for ShowAction {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<ActionTask, Refusal> {
        let id: ActionId = name(&self.id)?;
        let patience = self.timeout.map_or(FOREVER, |seconds| FOREVER.min(Duration::from_secs(seconds)));
        let deadline = Instant::now() + patience;
        let (mut changes, mut lines) = (backend.changes(), backend.log_last());
        loop {
            changes.mark_unchanged();
            lines.mark_unchanged();
            let mut seen = task(&backend.model(), id)?;
            if let Some(after) = self.after {
                seen.log = said(backend, &seen, after);
            }
            if !self.wait || seen.is_over() || !seen.log.is_empty() {
                return Ok(seen);
            }
            let news = async {
                tokio::select! {
                    changed = changes.changed() => changed,
                    changed = lines.changed(), if self.after.is_some() => changed,
                }
            };
            match timeout_at(deadline, news).await {
                Ok(Ok(())) => {}
                // The time is over, or the controller ends: what there is.
                _ => return Ok(seen),
            }
        }
    }
}

fn said(backend: &dyn Backend, task: &ActionTask, after: u64) -> Vec<LogLine> {
    let (entity, module) =
        (format!("unit-{}", task.unit.replace('/', "-")), format!("{}-action-{}", task.action, task.id));
    backend.log_after(after, &|line: &LogLine| line.entity == entity && line.module == module)
}

fn task(model: &Model, id: ActionId) -> Result<ActionTask, Refusal> {
    let found = model.actions.get(&id).map(action_task);
    found.ok_or_else(|| refusal::of(&ChangeError::NoActionId(id), model))
}

#[async_trait]
impl Handle for ActionTasks {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<ActionTasksAnswer, Refusal> {
        let patterns = patterns(&self.patterns)?;
        let model = backend.model();
        let wanted = |action: &&Action| patterns.is_empty() || patterns.iter().any(|p| p.matches(&action.unit));
        Ok(ActionTasksAnswer { actions: model.actions.values().filter(wanted).map(action_task).collect() })
    }
}

#[async_trait]
impl Handle for CancelAction {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let actions = self.ids.iter().map(|id| name(id)).collect::<Result<Vec<_>, _>>()?;
        backend.commit(by, Change::CancelActions { actions }).await?;
        Ok(Done::default())
    }
}

fn action_task(action: &Action) -> ActionTask {
    let params = action.params.iter().map(|(key, value)| {
        let shown = if action.secret.contains(key) { Value::from(SECRET) } else { json(value) };
        (key.clone(), shown)
    });
    let (started, completed, end) = match &action.state {
        ActionState::Queued => (None, None, None),
        ActionState::Running { started, .. } => (Some(*started), None, None),
        ActionState::Over { started, completed, end } => (*started, Some(*completed), Some(end)),
    };
    let message = match &action.state {
        ActionState::Running { cancelled: true, .. } => "is being cancelled",
        _ => end.map_or("", ActionEnd::message),
    };
    ActionTask {
        id: action.id.0,
        unit: action.unit.to_string(),
        action: action.name.to_string(),
        status: action.state.as_str().to_owned(),
        message: message.to_owned(),
        parameters: params.collect::<IndexMap<_, _>>(),
        results: match end {
            Some(ActionEnd::Completed { results }) => results.clone(),
            _ => serde_json::Map::new(),
        },
        timing: ActionTiming {
            enqueued: time_text(action.enqueued),
            started: started.map(time_text),
            completed: completed.map(time_text),
        },
        asked_by: action.by.clone(),
        log: Vec::new(),
    }
}
