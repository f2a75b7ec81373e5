//! debug-log

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::requests::{DebugLog, Refusal};
use super::super::server::Shared;
use super::super::status::LogLine;

const DEFAULT_LINES: usize = 10;
const LEVELS: [&str; 4] = ["DEBUG", "INFO", "WARNING", "ERROR"];

pub async fn handle(State(backend): State<Shared>, Json(request): Json<DebugLog>) -> Response {
    let filter = match Filter::of(&request) {
        Ok(filter) => Arc::new(filter),
        Err(refusal) => return refusal.into_response(),
    };
    let (out, stream) = mpsc::channel(256);
    tokio::spawn(follow(backend, request, filter, out));
    Sse::new(ReceiverStream::new(stream)).into_response()
}

async fn follow(backend: Shared, request: DebugLog, filter: Arc<Filter>, out: mpsc::Sender<Result<Event, Infallible>>) {
    let mut last = backend.log_last();
    let mut after = request.after.unwrap_or(0);
    let mut first = request.after.is_none();
    loop {
        let newest = *last.borrow_and_update();
        let mut lines = backend.log_after(after, &|line| filter.wants(line));
        if first {
            let kept = request.lines.unwrap_or(if request.replay { usize::MAX } else { DEFAULT_LINES });
            lines.drain(..lines.len().saturating_sub(kept));
            first = false;
        }
        after = after.max(newest);
        for line in lines {
            after = after.max(line.sequence);
            let event = Event::default().id(line.sequence.to_string()).json_data(line).unwrap_or_default();
            if out.send(Ok(event)).await.is_err() {
                return;
            }
        }
        if !request.follow {
            return;
        }
        tokio::select! {
            changed = last.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
}

struct Filter {
    include: Vec<String>,
    level: usize,
}

impl Filter {
    fn of(request: &DebugLog) -> Result<Filter, Refusal> {
        let level = match &request.level {
            None => 1,
            Some(level) => LEVELS.iter().position(|known| known.eq_ignore_ascii_case(level)).ok_or_else(|| {
                Refusal::new(format!("unknown log level \"{level}\"")).hint("levels are DEBUG, INFO, WARNING and ERROR")
            })?,
        };
        let include = request.include.iter().map(|text| entity(text)).collect();
        Ok(Filter { include, level })
    }

    fn wants(&self, line: &LogLine) -> bool {
        let level = LEVELS.iter().position(|known| *known == line.level).unwrap_or(0);
        let service = |wanted: &str| {
            line.entity.strip_prefix(wanted).is_some_and(|rest| {
                rest.strip_prefix('-').is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
            })
        };
        let named = |wanted: &String| line.entity == *wanted || service(wanted);
        level >= self.level && (self.include.is_empty() || self.include.iter().any(named))
    }
}

/// `mysql/0` → `unit-mysql-0`, `1` → `machine-1`, `mysql` → `unit-mysql` (all its units).
fn entity(text: &str) -> String {
    if text.starts_with("unit-") || text.starts_with("machine-") {
        text.to_owned()
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        format!("machine-{text}")
    } else {
        format!("unit-{}", text.replace('/', "-"))
    }
}
