//! Which action is due for a unit.
//!
//! # Guarantees
//! In the order in which they were asked for, one at a time. A unit runs actions once it has started, or is in error
//! after its install: then an operator may need one to mend it. An action that is said to run when its agent looks for
//! work was cut off with an earlier controller; it is never begun again.

use crate::model::{ActionId, ActionState, Model, UnitName};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionStep {
    Run(ActionId),
    /// It was cut off: say so.
    CutOff(ActionId),
}

/// The next step for the actions of `name`; `None` when nothing is asked or the unit is not ready for it.
pub fn next(model: &Model, name: &UnitName) -> Option<ActionStep> {
    let unit = model.units.get(name)?;
    let own = || unit.actions.iter().filter_map(|id| model.actions.get(id));
    if let Some(running) = own().find(|action| matches!(action.state, ActionState::Running { .. })) {
        return Some(ActionStep::CutOff(running.id));
    }
    let first = own().next()?;
    model.is_ready_for_actions(unit).then_some(ActionStep::Run(first.id))
}
