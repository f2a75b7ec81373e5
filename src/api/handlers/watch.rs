//! watch

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;

use super::super::requests::Watch;
use super::super::server::Shared;
use super::status::{Pattern, now, patterns};

/// At most so often: nobody reads faster.
const GAP: Duration = Duration::from_millis(100);
/// A status costs as much as the environment is large: at most one part of so many of the time is spent on it.
const PATIENCE: u32 = 5;

pub async fn handle(State(backend): State<Shared>, Json(request): Json<Watch>) -> Response {
    let patterns = match patterns(&request.patterns) {
        Ok(patterns) => patterns,
        Err(refusal) => return refusal.into_response(),
    };
    let (out, stream) = mpsc::channel(1);
    tokio::spawn(tell(backend, patterns, out));
    Sse::new(ReceiverStream::new(stream)).into_response()
}

/// Until the controller ends or nobody listens any more.
async fn tell(backend: Shared, patterns: Vec<Pattern>, out: mpsc::Sender<Result<Event, Infallible>>) {
    let mut changes = backend.changes();
    let mut told = None;
    loop {
        changes.mark_unchanged();
        let begun = Instant::now();
        let status = now(backend.as_ref(), &patterns);
        let gap = GAP.max(begun.elapsed() * PATIENCE);
        if told.as_ref() != Some(&status) {
            let event = Event::default().json_data(&status).unwrap_or_default();
            if out.send(Ok(event)).await.is_err() {
                return;
            }
            told = Some(status);
        }
        let changed = async {
            let changed = changes.changed().await;
            sleep(gap).await;
            changed
        };
        tokio::select! {
            changed = changed => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
}
