//! exec: a command or a shell in a machine, for `ssh`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio_util::codec::Framed;

use crate::model::{ChangeError, MachineId, Model};

use super::super::backend::Session;
use super::super::frames::{FrameCodec, UPGRADE};
use super::super::requests::{Exec, Refusal};
use super::super::server::Shared;
use super::{is_machine, name, refusal};

/// A request is an argument vector: that much is plenty.
const REQUEST_LIMIT: usize = 1 << 20;

pub async fn handle(State(backend): State<Shared>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(upgrade) = parts.extensions.remove::<hyper::upgrade::OnUpgrade>() else {
        return Refusal::new(format!("exec needs `Upgrade: {UPGRADE}`")).into_response();
    };
    let asked = match axum::body::to_bytes(body, REQUEST_LIMIT).await {
        Ok(bytes) => serde_json::from_slice::<Exec>(&bytes).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return Refusal::new(format!("the request cannot be read: {error}")).into_response(),
    };
    let machine = match target(&backend.model(), &asked.target) {
        Ok(machine) => machine,
        Err(refusal) => return refusal.into_response(),
    };
    let session = match backend.exec(machine, &asked).await {
        Ok(session) => session,
        Err(refusal) => return refusal.into_response(),
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => relay(Framed::new(TokioIo::new(upgraded), FrameCodec), session).await,
            Err(error) => tracing::debug!("an exec was given up: {error}"),
        }
    });
    let switching = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, UPGRADE)
        .body(Body::empty());
    switching.unwrap_or_else(|error| Refusal::new(error.to_string()).into_response())
}

/// Ends when the command has ended and all it said is sent, or when the client is gone: then the command is killed,
/// since its session is dropped.
async fn relay(mut wire: Framed<TokioIo<hyper::upgrade::Upgraded>, FrameCodec>, mut session: Session) {
    let mut listening = true;
    loop {
        tokio::select! {
            frame = session.output.recv() => match frame {
                Some(frame) => if wire.send(frame).await.is_err() { return },
                None => break,
            },
            frame = wire.next(), if listening => match frame {
                // A command that reads no more: its end is what counts.
                Some(Ok(frame)) => listening = session.input.send(frame).await.is_ok(),
                Some(Err(_)) | None => return,
            },
        }
    }
    // The client may be gone by now.
    let _ = wire.close().await;
}

fn target(model: &Model, text: &str) -> Result<MachineId, Refusal> {
    if is_machine(text) {
        let id = name(text)?;
        let found = model.machines.get(&id);
        found.map(|machine| machine.id).ok_or_else(|| refusal::of(&ChangeError::NoMachine(id), model))
    } else if text.contains('/') {
        let unit = name(text)?;
        let found = model.units.get(&unit);
        found.map(|unit| unit.machine).ok_or_else(|| refusal::of(&ChangeError::NoUnit(unit), model))
    } else {
        Err(Refusal::new(format!("\"{text}\" is neither a unit nor a machine")).hint("for example `mysql/0` or `1`"))
    }
}
