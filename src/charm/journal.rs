//! What a hook says while it runs: log lines and status, without secrets and with an end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{LogLevel, WorkloadStatus};

use super::HookSink;
use super::secret::Secrets;

/// Bytes of one line.
const MAX_LINE: usize = 16 << 10;
/// Bytes of a status message.
const MAX_STATUS: usize = 500;
/// Lines of the output of commands that an error shows.
const TAIL: usize = 20;

pub struct Journal {
    sink: Option<Arc<dyn HookSink>>,
    pub secrets: Secrets,
    max_lines: usize,
    lines: AtomicUsize,
    tail: Mutex<VecDeque<String>>,
}

impl Journal {
    /// Without a sink, as for loading a charm, everything is dropped.
    pub fn new(sink: Option<Arc<dyn HookSink>>, secrets: Secrets, max_lines: usize) -> Arc<Self> {
        let (lines, tail) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Journal { sink, secrets, max_lines, lines, tail })
    }

    /// A line of a prompt begins: it has a hook's share of lines, and its errors show its own output.
    pub fn begin(&self) {
        self.lines.store(0, Relaxed);
        self.clear_output();
    }

    /// Logs each line of `text`.
    pub fn log(&self, level: LogLevel, text: &str) {
        let Some(sink) = &self.sink else { return };
        for line in text.split('\n') {
            match self.lines.fetch_add(1, Relaxed) {
                count if count < self.max_lines => {
                    sink.log(level, &self.secrets.redact(line.trim_end_matches('\r'), MAX_LINE));
                }
                count if count == self.max_lines => {
                    let end = format!("this hook logged {} lines; what follows is dropped", self.max_lines);
                    sink.log(LogLevel::Warning, &end);
                }
                _ => break,
            }
        }
    }

    /// A line of a command's output; the last ones are kept for an error.
    pub fn output(&self, line: &str, quiet: bool) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(self.secrets.redact(line, MAX_STATUS));
        drop(tail);
        if !quiet {
            self.log(LogLevel::Info, line);
        }
    }

    /// Another command begins: what the last one said no longer explains an error.
    pub fn clear_output(&self) {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub fn tail(&self) -> Vec<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub fn status(&self, status: WorkloadStatus) {
        if let Some(sink) = &self.sink {
            let message = self.secrets.redact(&status.message.replace('\n', " "), MAX_STATUS);
            sink.status(WorkloadStatus { message, ..status });
        }
    }
}
