//! exec: a command or a shell in a machine, for `ssh`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use crate::model::{ChangeError, MachineId, Model, Subject};

use super::super::backend::ExecPlace;
use super::super::requests::{Exec, Refusal};
use super::super::server::Shared;
use super::stream::Wanted;
use super::{refusal, subject};

pub async fn handle(State(backend): State<Shared>, request: Request) -> Response {
    let wanted: Wanted<Exec> = match Wanted::read(request).await {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.into_response(),
    };
    let place = place(&backend.model(), &wanted.request.target);
    let session = match place {
        Ok(place) => backend.exec(place, &wanted.request).await,
        Err(refusal) => Err(refusal),
    };
    wanted.answer(session)
}

/// `[user@]unit` or `[user@]machine`, as ssh has it.
fn place(model: &Model, text: &str) -> Result<ExecPlace, Refusal> {
    let (user, target) = match text.split_once('@') {
        Some((user, target)) => (Some(user.to_owned()), target),
        None => (None, text),
    };
    Ok(ExecPlace { machine: machine(model, target)?, user })
}

pub(super) fn machine(model: &Model, text: &str) -> Result<MachineId, Refusal> {
    match subject(model, text)? {
        Subject::Machine(id) => {
            let found = model.machines.get(&id);
            found.map(|machine| machine.id).ok_or_else(|| refusal::of(&ChangeError::NoMachine(id), model))
        }
        Subject::Unit(unit) => {
            let found = model.units.get(&unit);
            found.map(|unit| unit.machine).ok_or_else(|| refusal::of(&ChangeError::NoUnit(unit), model))
        }
    }
}
