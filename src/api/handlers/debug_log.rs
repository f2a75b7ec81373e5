//! debug-log

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::model::MachineId;

use super::super::requests::{DebugLog, Refusal};
use super::super::server::Shared;
use super::super::status::LogLine;
use super::status::glob;

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
    let mut limit = request.limit.unwrap_or(u64::MAX);
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
            if limit == 0 {
                return;
            }
            limit -= 1;
            after = after.max(line.sequence);
            let event = Event::default().id(line.sequence.to_string()).json_data(line).unwrap_or_default();
            if out.send(Ok(event)).await.is_err() {
                return;
            }
        }
        if !request.follow || limit == 0 {
            return;
        }
        tokio::select! {
            changed = last.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
}

struct Filter {
    include: Vec<Named>,
    exclude: Vec<Named>,
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
        let named = |texts: &[String]| texts.iter().map(|text| Named::of(text)).collect();
        Ok(Filter { include: named(&request.include), exclude: named(&request.exclude), level })
    }

    fn wants(&self, line: &LogLine) -> bool {
        let level = LEVELS.iter().position(|known| *known == line.level).unwrap_or(0);
        let any = |list: &[Named]| list.iter().any(|named| named.is(&line.entity));
        level >= self.level && (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// A name as an operator writes it: a unit, a service (all its units), a machine, or a glob of these.
enum Named {
    Unit(String),
    Service(String),
    /// As the log has it: `unit-mysql-0`, `machine-1`, `machine-1-lxc-0`.
    Entity(String),
}

impl Named {
    fn of(text: &str) -> Named {
        if let Ok(machine) = text.strip_prefix("machine-").unwrap_or(text).parse::<MachineId>() {
            Named::Entity(machine.tag())
        } else if text == "*" || text == "controller" || text.starts_with("unit-") || text.starts_with("machine-") {
            Named::Entity(text.to_owned())
        } else if text.contains('/') {
            Named::Unit(text.to_owned())
        } else {
            Named::Service(text.to_owned())
        }
    }

    fn is(&self, entity: &str) -> bool {
        let unit = entity.strip_prefix("unit-").and_then(|unit| unit.rsplit_once('-'));
        match (self, unit) {
            // `unit-mysql` has always meant all units of mysql.
            (Named::Entity(wanted), unit) => {
                glob(wanted, entity)
                    || unit.is_some_and(|(service, _)| wanted.strip_prefix("unit-").is_some_and(|w| glob(w, service)))
            }
            (Named::Unit(wanted), Some((service, number))) => glob(wanted, &format!("{service}/{number}")),
            (Named::Service(wanted), Some((service, _))) => glob(wanted, service),
            (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_unit_a_service_a_machine_or_a_glob() {
        let is = |text: &str, entity: &str| Named::of(text).is(entity);
        for text in ["mysql/0", "mysql", "unit-mysql-0", "unit-mysql", "my*", "my*/0", "*/0", "mysql/*", "unit-*", "*"]
        {
            assert!(is(text, "unit-mysql-0"), "{text}");
        }
        for text in ["mysql/1", "sql", "unit-mysql-1", "unit-my", "0", "machine-*", "*/1", "my"] {
            assert!(!is(text, "unit-mysql-0"), "{text}");
        }
        assert!(is("1", "machine-1") && is("machine-*", "machine-1") && !is("1", "machine-11"));
        for text in ["1/lxc/0", "machine-1/lxc/0", "machine-1-lxc-0", "machine-1-*"] {
            assert!(is(text, "machine-1-lxc-0") && !is(text, "machine-1"), "{text}");
        }
        assert!(!is("1", "machine-1-lxc-0") && !is("1/lxc/0", "machine-1-lxc-01"));
        assert!(is("my-app", "unit-my-app-3") && !is("my", "unit-my-app-3"));
    }

    #[test]
    fn what_is_excluded_is_not_shown_even_if_included() {
        let line = |entity: &str| LogLine {
            sequence: 1,
            time: String::new(),
            entity: entity.into(),
            level: "INFO".into(),
            module: "m".into(),
            message: String::new(),
        };
        let request = DebugLog { include: vec!["my*".into()], exclude: vec!["mysql/1".into()], ..DebugLog::default() };
        let filter = Filter::of(&request).unwrap_or_else(|refusal| panic!("{}", refusal.error));
        assert!(filter.wants(&line("unit-mysql-0")) && !filter.wants(&line("unit-mysql-1")));
        assert!(!filter.wants(&line("machine-1")));
    }
}
