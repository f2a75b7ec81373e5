//! debug-hooks: an operator in the place of a unit's hooks.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use crate::model::{ChangeError, Model, UnitName};

use super::super::requests::{DebugHooks, Refusal};
use super::super::server::Shared;
use super::stream::Wanted;
use super::{name, refusal};

pub async fn handle(State(backend): State<Shared>, request: Request) -> Response {
    let wanted: Wanted<DebugHooks> = match Wanted::read(request).await {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.into_response(),
    };
    let checked = check(&backend.model(), &wanted.request);
    let session = match checked {
        Ok(unit) => backend.debug_hooks(&wanted.by, unit, wanted.request.clone()).await,
        Err(refusal) => Err(refusal),
    };
    wanted.answer(session)
}

/// The unit, if it is there and may have the hooks.
pub(super) fn check(model: &Model, request: &DebugHooks) -> Result<UnitName, Refusal> {
    let unit: UnitName = name(&request.unit)?;
    let found = model.units.get(&unit);
    let known = found.and_then(|unit| model.charm_of(unit)).map(|charm| charm.meta.hook_names());
    let Some(known) = known else {
        return Err(refusal::of(&ChangeError::NoUnit(unit), model));
    };
    match request.hooks.iter().find(|hook| !known.contains(*hook)) {
        None => Ok(unit),
        Some(unknown) => {
            let refused = Refusal::new(format!("unit \"{unit}\" does not contain hook \"{unknown}\""));
            Err(refusal::suggest(refused, unknown, known.into_iter(), "hooks"))
        }
    }
}
