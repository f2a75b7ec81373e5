//! Actions: asked for, run, cancelled.

use indexmap::IndexMap;

use super::super::action::{ActionDecl, ActionEnd, ActionState, MOST_PENDING, TIMEOUTS};
use super::super::config::ConfigValue;
use super::super::entities::{Life, Millis};
use super::super::event::{Event, HookWrites};
use super::super::names::{ActionId, ActionName, UnitName};
use super::deploy::parse_settings;
use super::{ChangeError, Decider};

/// An action as an operator asks for it.
#[derive(Clone, Debug)]
pub struct ActionCall {
    pub unit: UnitName,
    pub name: ActionName,
    /// As typed (strings), or typed already (from YAML).
    pub params: IndexMap<String, serde_json::Value>,
    pub timeout: Option<Millis>,
    /// The command that asks.
    pub by: String,
}

impl Decider<'_> {
    pub(super) fn queue_action(&mut self, call: ActionCall) -> Result<(), ChangeError> {
        let ActionCall { unit: name, name: wanted, params, timeout, by } = call;
        let Some(unit) = self.model.units.get(&name) else { return Err(ChangeError::NoUnit(name)) };
        if unit.life == Life::Dying {
            return Err(ChangeError::UnitNotAlive(name));
        }
        let declared = self.model.charm_of(unit).map(|charm| &charm.meta.actions);
        let decl = declared.and_then(|actions| actions.get(&wanted)).ok_or_else(|| ChangeError::NoAction {
            action: wanted.clone(),
            service: name.service.clone(),
            known: declared.into_iter().flatten().map(|(name, _)| name.to_string()).collect(),
        })?;
        if timeout.is_some_and(|timeout| !TIMEOUTS.contains(&timeout)) {
            return Err(ChangeError::ActionTimeout);
        }
        let params = given(&wanted, decl, &params)?;
        let secret = decl.params.iter().filter(|(_, param)| param.option.secret).map(|(key, _)| key.clone()).collect();
        if self.model.actions.values().filter(|action| !action.state.is_over()).count() >= MOST_PENDING {
            return Err(ChangeError::TooManyActions);
        }
        let action = ActionId(self.model.next_action);
        self.emit(Event::ActionQueued { action, unit: name, name: wanted, params, secret, timeout, by });
        Ok(())
    }

    pub(super) fn cancel_actions(&mut self, ids: &[ActionId]) -> Result<(), ChangeError> {
        for id in ids {
            match self.model.actions.get(id).map(|action| &action.state) {
                None => return Err(ChangeError::NoActionId(*id)),
                Some(ActionState::Over { end, .. }) => {
                    return Err(ChangeError::ActionOver { action: *id, state: end.as_str() });
                }
                Some(_) => {}
            }
        }
        for action in ids {
            let Some(found) = self.model.actions.get(action) else { continue };
            let (action, unit) = (*action, found.unit.clone());
            match found.state {
                ActionState::Queued => {
                    let end = ActionEnd::Cancelled { message: "cancelled before it began".to_owned() };
                    self.emit(Event::ActionEnded { action, unit, end, writes: Box::default() });
                }
                ActionState::Running { cancelled: false, .. } => self.emit(Event::ActionCancelled { action, unit }),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn start_action(&mut self, id: ActionId) -> Result<(), ChangeError> {
        match self.model.actions.get(&id) {
            // Its unit may have got an upgrade or a resolved hook to run since that was decided.
            Some(action) if action.state == ActionState::Queued && self.is_ready(&action.unit) => {
                let unit = action.unit.clone();
                self.emit(Event::ActionStarted { action: id, unit });
                Ok(())
            }
            _ => Err(ChangeError::Outdated(format!("action {id}"))),
        }
    }

    fn is_ready(&self, unit: &UnitName) -> bool {
        self.model.units.get(unit).is_some_and(|unit| self.model.is_ready_for_actions(unit))
    }

    /// The writes of an action that did not complete are dropped, as those of a failed hook.
    pub(super) fn end_action(&mut self, id: ActionId, end: ActionEnd, writes: HookWrites) -> Result<(), ChangeError> {
        match self.model.actions.get(&id) {
            Some(action) if matches!(action.state, ActionState::Running { .. }) => {
                let unit = action.unit.clone();
                let end = if writes.leader.is_empty() || self.leads(&unit) {
                    end
                } else {
                    // As for a hook: the next leader may have written already.
                    ActionEnd::Failed {
                        message: "the unit ceased to lead meanwhile, so its writes were dropped".into(),
                    }
                };
                let completed = matches!(end, ActionEnd::Completed { .. });
                let writes = if completed { Box::new(writes) } else { Box::default() };
                self.emit(Event::ActionEnded { action: id, unit, end, writes });
                Ok(())
            }
            _ => Err(ChangeError::Outdated(format!("action {id}"))),
        }
    }
}

/// The parameters by their types; all that are required must be there.
fn given(
    action: &ActionName,
    decl: &ActionDecl,
    values: &IndexMap<String, serde_json::Value>,
) -> Result<IndexMap<String, ConfigValue>, ChangeError> {
    let refused = |error| ChangeError::ActionParams { action: action.clone(), error };
    let params = parse_settings(&decl.options(), values).map_err(refused)?;
    let missing = decl.params.iter().find(|(key, param)| param.required && !params.contains_key(*key));
    match missing {
        Some((param, _)) => Err(ChangeError::NoParam { action: action.clone(), param: param.clone() }),
        None => Ok(params),
    }
}
