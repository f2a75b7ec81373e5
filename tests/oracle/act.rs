//! Actions: each begins at most once, in its turn, and comes to an end that it had.

use std::collections::BTreeSet;

use encanto::charm::HookContext;
use encanto::model::{ActionEnd, ActionId, ActionName, Event, Hook, HookWrites, MachineId, Model, UnitName};

use super::{End, Oracle, UnitSeen};

pub(super) struct ActionSeen {
    unit: UnitName,
    name: ActionName,
    /// Where it is at work, which may still be so when it counts as over.
    at: Option<MachineId>,
    stage: Stage,
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Queued,
    /// The journal says that it runs.
    Started,
    Begun,
    Ran(End),
    Over,
}

impl Oracle {
    pub(super) fn action_event(&mut self, event: &Event) {
        match event {
            Event::ActionQueued { action, unit, name, .. } => {
                let known = self.units.get(unit).is_some_and(|unit| !unit.dying);
                self.must(known && !self.actions.contains_key(action), *action, "was asked for in vain, or twice");
                let (unit, name) = (unit.clone(), name.clone());
                let asked = ActionSeen { unit, name, at: None, stage: Stage::Queued, cancelled: false };
                self.actions.insert(*action, asked);
            }
            Event::ActionStarted { action, unit } => self.action_starts(*action, unit),
            Event::ActionCancelled { action, .. } => {
                if let Some(action) = self.actions.get_mut(action) {
                    action.cancelled = true;
                }
            }
            Event::ActionEnded { action, unit, end, writes } => {
                self.action_ended(*action, end, writes);
                self.wrote_all(unit, writes);
                self.stir(&unit.service);
            }
            _ => {}
        }
    }

    fn must(&mut self, holds: bool, id: ActionId, reason: &str) {
        if !holds {
            self.problems.push(format!("action {id} {reason}"));
        }
    }

    /// A machine is held while an operator wants something of it.
    pub(super) fn hold(&mut self, event: &Event) {
        let (machine, why, begins) = match event {
            Event::MachineStopAsked { machine }
            | Event::MachineRestartAsked { machine }
            | Event::MachineStartAsked { machine } => (machine, "power", true),
            Event::MachineUp { machine } => (machine, "power", false),
            Event::MachineRestoreAsked { machine, .. } => (machine, "restore", true),
            Event::MachineRestored { machine, .. } | Event::MachineRestoreFailed { machine, .. } => {
                (machine, "restore", false)
            }
            Event::MachineRemoved { machine } => return drop(self.held.remove(machine)),
            _ => return,
        };
        let held = self.held.entry(*machine).or_default();
        let _ = if begins { held.insert(why) } else { held.remove(why) };
    }

    /// Whether it is there, and nobody has stopped it.
    pub(super) fn takes_work(&self, machine: MachineId) -> bool {
        self.up.contains(&machine) && self.held.get(&machine).is_none_or(BTreeSet::is_empty)
    }

    /// Whether the unit may begin an action.
    fn acts(&self, unit: &UnitSeen) -> bool {
        let whole = unit.started && !unit.upgrading;
        self.takes_work(unit.machine) && unit.installed && !unit.dying && (whole || unit.failed.is_some())
    }

    fn action_starts(&mut self, id: ActionId, unit: &UnitName) {
        let acts = self.units.get(unit).is_some_and(|unit| self.acts(unit));
        self.must(acts, id, &format!("starts, for which {unit} is not ready"));
        let stage = self.actions.get(&id).map(|action| action.stage);
        self.must(stage == Some(Stage::Queued), id, &format!("starts, and is {stage:?}"));
        let own = self.actions.iter().filter(|(other, action)| **other != id && action.unit == *unit);
        let first = own.into_iter().all(|(other, action)| match action.stage {
            Stage::Over => true,
            Stage::Queued => *other > id,
            _ => false,
        });
        self.must(first, id, &format!("starts before its turn on {unit}"));
        if let Some(action) = self.actions.get_mut(&id) {
            action.stage = Stage::Started;
        }
    }

    /// What `context` names begins on its machine.
    pub(super) fn action_begins(&mut self, context: &HookContext) {
        let (unit, machine) = (&context.unit, context.machine);
        let mut own = self.actions.values_mut().filter(|action| action.unit == *unit && action.stage == Stage::Started);
        match own.next() {
            Some(action) if Hook::Action(action.name.clone()) == context.hook && !action.cancelled => {
                (action.stage, action.at) = (Stage::Begun, Some(machine));
            }
            Some(_) => self.problems.push(format!("{unit}: {} begins, and another was to, or none", context.hook)),
            None => self.problems.push(format!("{unit}: {} begins, and the journal does not say so", context.hook)),
        }
    }

    pub(super) fn action_ends(&mut self, context: &HookContext, end: End) {
        let at_work = self.actions.values_mut().find(|action| action.unit == context.unit && action.at.is_some());
        let Some(action) = at_work else { return };
        action.at = None;
        if action.stage == Stage::Begun {
            action.stage = Stage::Ran(end);
        }
    }

    /// What was under way, and of which nothing is written down, was cut off.
    pub(super) fn actions_cut_off(&mut self) {
        for action in self.actions.values_mut() {
            action.at = None;
            if !matches!(action.stage, Stage::Queued | Stage::Over) {
                action.stage = Stage::Ran(End::CutOff);
            }
        }
    }

    fn action_ended(&mut self, id: ActionId, end: &ActionEnd, writes: &HookWrites) {
        let Some(action) = self.actions.get_mut(&id) else {
            return self.must(false, id, "ends, and was not asked for");
        };
        let late = end.message().starts_with("the unit ceased to lead");
        let fits = match (action.stage, end) {
            (Stage::Queued, ActionEnd::Cancelled { .. }) => true,
            (Stage::Queued | Stage::Begun | Stage::Over, _) => false,
            (Stage::Ran(End::Returned), ActionEnd::Completed { .. }) => true,
            (Stage::Ran(End::Returned), ActionEnd::Failed { .. }) => late,
            (Stage::Ran(End::Failed), ActionEnd::Failed { .. }) => true,
            // Or it did not come so far that it began.
            // A controller that died is the reason, also if somebody cancels before the next one has said so.
            (Stage::Ran(End::CutOff), ActionEnd::Failed { message }) => {
                !action.cancelled || message.starts_with("interrupted")
            }
            (Stage::Ran(End::CutOff), ActionEnd::Cancelled { .. }) => action.cancelled,
            (Stage::Started, ActionEnd::Failed { .. }) => true,
            (Stage::Started, ActionEnd::Cancelled { .. }) => action.cancelled,
            _ => false,
        };
        let was = std::mem::replace(&mut action.stage, Stage::Over);
        self.must(fits, id, &format!("is {was:?}, and ends as {end:?}"));
        let wrote = matches!(end, ActionEnd::Completed { .. }) || writes.is_empty();
        self.must(wrote, id, "did not complete, and wrote");
    }

    /// With a dying unit those that wait are over, with a removed one all of them.
    pub(super) fn actions_dropped(&mut self, unit: &UnitName, removed: bool) {
        let own = self.actions.values_mut().filter(|action| action.unit == *unit);
        for action in own.filter(|action| removed || action.stage == Stage::Queued) {
            action.stage = Stage::Over;
        }
    }

    /// Actions at work on the machine.
    pub(super) fn actions_on(&self, machine: MachineId) -> impl Iterator<Item = String> {
        let here = self.actions.iter().filter(move |(_, action)| action.at == Some(machine));
        here.map(|(id, action)| format!("action {id} of {} is at work", action.unit))
    }

    /// At rest only those wait whose unit is not ready for them.
    pub(super) fn actions_left(&self, model: &Model) -> Vec<String> {
        let mut found = Vec::new();
        for (id, action) in &self.actions {
            let over = action.stage == Stage::Over;
            if model.actions.get(id).is_some_and(|known| known.state.is_over() != over) {
                found.push(format!("action {id} is {:?}, and the model says otherwise", action.stage));
            }
            let ready = self.units.get(&action.unit).is_none_or(|unit| self.acts(unit));
            if !over && (ready || action.stage != Stage::Queued) {
                found.push(format!("action {id} of {} is still {:?}", action.unit, action.stage));
            }
        }
        found
    }
}
