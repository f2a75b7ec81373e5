//! console: a machine's own, for `machine console`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use crate::model::ChangeError;

use super::super::machines::Console;
use super::super::server::Shared;
use super::stream::Wanted;
use super::{machine, refusal};

pub async fn handle(State(backend): State<Shared>, request: Request) -> Response {
    let wanted: Wanted<Console> = match Wanted::read(request).await {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.into_response(),
    };
    let found = {
        let model = backend.model();
        let known = |id| match model.machines.contains_key(&id) {
            true => Ok(id),
            false => Err(refusal::of(&ChangeError::NoMachine(id), &model)),
        };
        machine(&model, &wanted.request.machine).and_then(known)
    };
    let session = match found {
        Ok(machine) => backend.console(machine, wanted.request.terminal).await,
        Err(refusal) => Err(refusal),
    };
    wanted.answer(session)
}
