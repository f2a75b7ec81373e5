//! What `exec` and `debug-hooks` share: a request that becomes a stream of frames.

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
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
/// ended, since the session is dropped. Both directions at once: a command that is not read from does not read either, and
/// whoever waits for the one with the other in his hands waits for ever.
async fn relay<W: AsyncRead + AsyncWrite + Unpin>(wire: Framed<W, FrameCodec>, session: Session) {
    let (mut send, mut receive) = wire.split();
    let Session { input, mut output } = session;
    let said = async move {
        while let Some(frame) = output.recv().await {
            if send.send(frame).await.is_err() {
                return;
            }
        }
        // The client may be gone by now.
        let _ = send.close().await;
    };
    let heard = async move {
        while let Some(Ok(frame)) = receive.next().await {
            // A command that reads no more: its end is what counts, or the client's.
            let _ = input.send(frame).await;
        }
    };
    tokio::select! {
        biased;
        () = said => {}
        () = heard => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::api::Frame;

    /// A session of a command like `cat`, and the client's end of the wire.
    fn echoing() -> (Framed<tokio::io::DuplexStream, FrameCodec>, tokio::task::JoinHandle<()>) {
        let (input, mut heard) = mpsc::channel(1);
        let (say, output) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(frame) = heard.recv().await {
                if matches!(&frame, Frame::Stdin(bytes) if bytes.is_empty()) || say.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let (near, far) = tokio::io::duplex(1024);
        let relayed = tokio::spawn(relay(Framed::new(far, FrameCodec), Session { input, output }));
        (Framed::new(near, FrameCodec), relayed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_says_back_all_that_it_is_told_holds_nobody_up() {
        let (wire, relayed) = echoing();
        let (mut send, mut receive) = wire.split();
        let telling = async {
            for _ in 0..100 {
                send.send(Frame::Stdin(vec![7; 4096])).await.unwrap();
            }
            send.send(Frame::Stdin(Vec::new())).await.unwrap();
        };
        let counting = async {
            let mut count = 0;
            while let Some(Ok(_)) = receive.next().await {
                count += 1;
            }
            count
        };
        let both = async { tokio::join!(telling, counting).1 };
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), both).await, Ok(100));
        relayed.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_is_noticed_also_when_the_command_reads_no_more() {
        let (input, heard) = mpsc::channel(1);
        drop(heard);
        let (say, output) = mpsc::channel(1);
        let (near, far) = tokio::io::duplex(1024);
        let relayed = tokio::spawn(relay(Framed::new(far, FrameCodec), Session { input, output }));
        let mut wire = Framed::new(near, FrameCodec);
        wire.send(Frame::Stdin(vec![7; 16])).await.unwrap();
        drop(wire);
        assert!(tokio::time::timeout(Duration::from_secs(60), say.closed()).await.is_ok());
        relayed.await.unwrap();
    }
}
