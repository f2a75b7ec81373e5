//! Server-sent events: lines of `id:` and `data:`, an empty line ends an event, `:` begins a comment.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::{Client, ClientError, Whose};
use crate::api::requests::DebugLog;
use crate::api::status::LogLine;

/// Most bytes a single event may have.
const LARGEST_EVENT: usize = 16 << 20;

/// How long a followed log waits for a controller that restarts.
const PATIENCE: Duration = Duration::from_secs(15);

/// The events of one answer.
#[derive(Debug)]
pub struct Events<T> {
    whose: Whose,
    body: Incoming,
    parser: Parser,
    ready: VecDeque<String>,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Events<T> {
    pub(super) fn new(whose: Whose, body: Incoming) -> Self {
        Self { whose, body, parser: Parser::default(), ready: VecDeque::new(), kind: PhantomData }
    }

    /// `None` when the controller ended the stream.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return serde_json::from_str(&data).map(Some).map_err(|error| self.garbled(error.to_string()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(source)) => return Err(self.whose.interrupted(source)),
                Some(Ok(frame)) => {
                    let Some(bytes) = frame.data_ref() else { continue };
                    self.parser.push(bytes, &mut self.ready).map_err(|what| self.garbled(what.to_owned()))?;
                }
            }
        }
    }

    fn garbled(&self, what: String) -> ClientError {
        ClientError::Garbled { environment: self.whose.environment.clone(), what }
    }
}

/// Cuts bytes into the data of events. The number of an event is in its data, so that `id:` need not be kept.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    data: Option<String>,
}

impl Parser {
    fn push(&mut self, mut bytes: &[u8], ready: &mut VecDeque<String>) -> Result<(), &'static str> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.end_line(line.strip_suffix(b"\r").unwrap_or(&line), ready)?;
        }
        self.line.extend_from_slice(bytes);
        let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
        if held > LARGEST_EVENT { Err("an event without an end") } else { Ok(()) }
    }

    fn end_line(&mut self, line: &[u8], ready: &mut VecDeque<String>) -> Result<(), &'static str> {
        if line.is_empty() {
            ready.extend(self.data.take());
        } else if let Some(value) = line.strip_prefix(b"data:") {
            let text = std::str::from_utf8(value).map_err(|_| "an event that is not UTF-8")?;
            let text = text.strip_prefix(' ').unwrap_or(text);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(text);
                }
                None => self.data = Some(text.to_owned()),
            }
        }
        Ok(())
    }
}

/// Lines of the log, each once and in order, also over a restart of the controller when it follows.
#[derive(Debug)]
pub struct LogStream<'a> {
    client: &'a Client,
    request: DebugLog,
    events: Events<LogLine>,
}

impl<'a> LogStream<'a> {
    pub(super) fn new(client: &'a Client, request: DebugLog, events: Events<LogLine>) -> Self {
        Self { client, request, events }
    }

    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        loop {
            if self.request.limit == Some(0) {
                return Ok(None);
            }
            match self.events.next().await {
                Ok(Some(line)) => {
                    self.request.after = Some(line.sequence);
                    // After a restart only the rest is wanted.
                    self.request.limit = self.request.limit.map(|limit| limit.saturating_sub(1));
                    return Ok(Some(line));
                }
                Ok(None) | Err(ClientError::Interrupted { .. }) if self.request.follow => self.reconnect().await?,
                end => return end,
            }
        }
    }

    async fn reconnect(&mut self) -> Result<(), ClientError> {
        if self.request.after.is_some() {
            (self.request.lines, self.request.replay) = (None, true);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.client.log_events(&self.request).await {
                Ok(events) => {
                    self.events = events;
                    return Ok(());
                }
                // An environment that is gone does not come back; a controller does.
                Err(error @ (ClientError::NotRunning { .. } | ClientError::Interrupted { .. })) => {
                    if Instant::now() > deadline {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(pieces: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut ready) = (Parser::default(), VecDeque::new());
        for piece in pieces {
            parser.push(piece, &mut ready).unwrap();
        }
        ready.into()
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        assert_eq!(parsed(&[b"data: {}\n"]), Vec::<String>::new());
        assert_eq!(parsed(&[b"data: {}\n\ndata: 1\nid: 7\n\n"]), ["{}", "1"]);
    }

    #[test]
    fn comments_and_strange_fields_are_passed_over() {
        assert_eq!(parsed(&[b": still here\n\nevent: x\r\ndata:a\r\ndata:  b\r\n\r\n"]), ["a\n b"]);
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut parser = Parser::default();
        assert!(parser.push(&vec![b'x'; LARGEST_EVENT + 1], &mut VecDeque::new()).is_err());
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(step in 1usize..30) {
            let wire = "id: 1\ndata: {\"ü\":1}\n\n: ping\n\ndata: [2]\n\n".as_bytes();
            let pieces: Vec<&[u8]> = wire.chunks(step).collect();
            prop_assert_eq!(parsed(&pieces), ["{\"ü\":1}", "[2]"]);
        }
    }
}
