//! What `exec` and `debug-hooks` share: a request that becomes a stream of frames.

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio_util::codec::Framed;

use super::super::backend::{Asker, Session};
use super::super::frames::{FrameCodec, UPGRADE};
use super::super::requests::Refusal;
use super::super::server::Peer;

/// A request is an argument vector or some names: that much is plenty.
const REQUEST_LIMIT: usize = 1 << 20;

/// A stream that was asked for.
pub struct Wanted<R> {
    pub request: R,
    /// For the journal.
    pub by: Asker,
    upgrade: OnUpgrade,
}

impl<R: DeserializeOwned> Wanted<R> {
    pub async fn read(request: Request) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
            return Err(Refusal::new(format!("this needs `Upgrade: {UPGRADE}`")));
        };
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map_or_else(Peer::default, |info| info.0);
        let by = peer.asks(&parts.headers, "").await;
        let read = match axum::body::to_bytes(body, REQUEST_LIMIT).await {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(request) => Ok(Wanted { request, by, upgrade }),
            Err(error) => Err(Refusal::new(format!("the request cannot be read: {error}"))),
        }
    }
}

impl<R> Wanted<R> {
    /// Switches protocols and relays, or tells why not.
    pub fn answer(self, session: Result<Session, Refusal>) -> Response {
        let session = match session {
            Ok(session) => session,
            Err(refusal) => return refusal.into_response(),
        };
        tokio::spawn(async move {
            match self.upgrade.await {
                Ok(upgraded) => relay(Framed::new(TokioIo::new(upgraded), FrameCodec), session).await,
                Err(error) => tracing::debug!("a stream was given up: {error}"),
            }
        });
        let switching = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, UPGRADE)
            .body(Body::empty());
        switching.unwrap_or_else(|error| Refusal::new(error.to_string()).into_response())
    }
}

/// Ends when the session has ended and all it said is sent, or when the client is gone: then what the session did is
/// ended, since the session is dropped.
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
