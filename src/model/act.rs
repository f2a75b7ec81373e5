//! What becomes of actions; part of [`Model::apply`].

use super::action::{Action, ActionEnd, ActionState, KEPT};
use super::entities::{Life, Machine, Millis, Unit};
use super::event::Event;
use super::names::{ActionId, UnitName};
use super::state::Model;

impl Model {
    pub(super) fn apply_action(&mut self, event: &Event, at: Millis) {
        match event {
            Event::ActionQueued { action, unit, name, params, secret, timeout, by } => {
                self.next_action = self.next_action.max(action.0 + 1);
                let Some(host) = self.units.get_mut(unit) else { return };
                host.actions.insert(*action);
                let queued = Action {
                    id: *action,
                    unit: unit.clone(),
                    name: name.clone(),
                    params: params.clone(),
                    secret: secret.clone(),
                    timeout: *timeout,
                    by: by.clone(),
                    enqueued: at,
                    state: ActionState::Queued,
                };
                self.actions.insert(*action, queued);
            }
            Event::ActionStarted { action, .. } => {
                if let Some(action) = self.actions.get_mut(action) {
                    action.state = ActionState::Running { started: at, cancelled: false };
                }
            }
            Event::ActionCancelled { action, .. } => {
                if let Some(ActionState::Running { cancelled, .. }) = self.actions.get_mut(action).map(|a| &mut a.state)
                {
                    *cancelled = true;
                }
            }
            Event::ActionEnded { action, unit, end, writes } => {
                self.commit_writes(unit, writes);
                self.end_action(*action, end.clone(), at);
            }
            _ => {}
        }
    }

    /// Once it has started; or in error after its install, when only an action may mend it.
    pub fn is_ready_for_actions(&self, unit: &Unit) -> bool {
        let machine = self.machines.get(&unit.machine);
        let up = machine.is_some_and(Machine::is_up);
        let whole = unit.started && !unit.upgrading;
        up && unit.life == Life::Alive && unit.installed && (whole || unit.failed.is_some())
    }

    /// A dying unit begins nothing new; what runs goes on to its end.
    pub(super) fn drop_queued_actions(&mut self, unit: &UnitName, at: Millis) {
        for id in self.pending_actions(unit) {
            if self.actions.get(&id).is_some_and(|action| action.state == ActionState::Queued) {
                let message = format!("unit {unit} is being destroyed");
                self.end_action(id, ActionEnd::Cancelled { message }, at);
            }
        }
    }

    /// With the unit all of its actions end.
    pub(super) fn drop_actions(&mut self, unit: &UnitName, at: Millis) {
        for id in self.pending_actions(unit) {
            let message = format!("unit {unit} was destroyed");
            self.end_action(id, ActionEnd::Cancelled { message }, at);
        }
    }

    fn pending_actions(&self, unit: &UnitName) -> Vec<ActionId> {
        self.units.get(unit).map(|unit| unit.actions.iter().copied().collect()).unwrap_or_default()
    }

    fn end_action(&mut self, id: ActionId, end: ActionEnd, at: Millis) {
        let Some(action) = self.actions.get_mut(&id) else { return };
        let started = match action.state {
            ActionState::Running { started, .. } => Some(started),
            _ => None,
        };
        action.state = ActionState::Over { started, completed: at, end };
        if let Some(unit) = self.units.get_mut(&action.unit) {
            unit.actions.remove(&id);
        }
        self.forget_oldest(id);
    }

    /// By when it ended: somebody waits for the end of `latest`, however long ago that was asked for.
    fn forget_oldest(&mut self, latest: ActionId) {
        let over = self.actions.values().filter_map(|action| match action.state {
            ActionState::Over { completed, .. } => Some((action.id != latest, completed, action.id)),
            _ => None,
        });
        let over: Vec<_> = over.collect();
        if over.len() > KEPT {
            let oldest = over.iter().filter(|(other, ..)| *other).min_by_key(|(_, completed, id)| (*completed, *id));
            if let Some((_, _, id)) = oldest {
                self.actions.remove(id);
            }
        }
    }
}
