//! wait

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::model::{ChangeError, MachineId, Model};

use super::super::backend::{Backend, WaitFor, WaitTarget};
use super::super::requests::{Refusal, Wait};
use super::super::server::Shared;
use super::{is_machine, name, named_machine, refusal};

pub async fn handle(State(backend): State<Shared>, Json(request): Json<Wait>) -> Response {
    let (targets, what) = match asked(backend.as_ref(), &request) {
        Ok(asked) => asked,
        Err(refusal) => return refusal.into_response(),
    };
    let events = backend.wait(targets, what, request.timeout.map(Duration::from_secs));
    let stream = ReceiverStream::new(events)
        .map(|event| Ok::<_, Infallible>(Event::default().json_data(event).unwrap_or_default()));
    Sse::new(stream).into_response()
}

fn asked(backend: &dyn Backend, request: &Wait) -> Result<(Vec<WaitTarget>, WaitFor), Refusal> {
    let what = match request.condition.as_deref().unwrap_or("active") {
        "active" => WaitFor::Active,
        "started" => WaitFor::Started,
        "settled" => WaitFor::Settled,
        "gone" => WaitFor::Gone,
        other => {
            return Err(Refusal::new(format!("unknown condition \"{other}\""))
                .hint("conditions are active, started, settled and gone"));
        }
    };
    let model = backend.model();
    let targets = request.targets.iter().map(|text| target(&model, text, what)).collect::<Result<_, _>>()?;
    Ok((targets, what))
}

/// A machine that is called so, unless a service is.
fn called(model: &Model, text: &str) -> Option<MachineId> {
    let service = text.parse().is_ok_and(|name: crate::model::ServiceName| model.services.contains_key(&name));
    named_machine(model, text).ok().filter(|_| !service)
}

/// What is waited for must be there, unless it is waited for to go.
fn target(model: &Model, text: &str, what: WaitFor) -> Result<WaitTarget, Refusal> {
    let gone_is_well = what == WaitFor::Gone;
    let (target, missing) = if is_machine(text) {
        let id = name(text)?;
        (WaitTarget::Machine(id), (!model.machines.contains_key(&id)).then_some(ChangeError::NoMachine(id)))
    } else if text.contains('/') {
        let unit: crate::model::UnitName = name(text)?;
        let missing = (!model.units.contains_key(&unit)).then(|| ChangeError::NoUnit(unit.clone()));
        (WaitTarget::Unit(unit), missing)
    } else if let Some(id) = called(model, text) {
        (WaitTarget::Machine(id), None)
    } else {
        let service: crate::model::ServiceName = name(text)?;
        let missing = (!model.services.contains_key(&service)).then(|| ChangeError::NoService(service.clone()));
        (WaitTarget::Service(service), missing)
    };
    match missing {
        Some(error) if !gone_is_well => Err(refusal::of(&error, model)),
        _ => Ok(target),
    }
}
