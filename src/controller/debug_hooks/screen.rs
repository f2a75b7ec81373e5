//! What a hook says, for the log and for the operator's screen at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use crate::charm::HookSink;
use crate::model::{LogLevel, WorkloadStatus};

/// Lines that wait for a slow screen; more are in the log only.
const WAITING: usize = 1024;

/// The hook's end.
pub struct Screen {
    log: Arc<dyn HookSink>,
    lines: mpsc::Sender<String>,
    dropped: Arc<AtomicUsize>,
}

/// The operator's end.
pub struct Lines {
    lines: mpsc::Receiver<String>,
    dropped: Arc<AtomicUsize>,
}

impl Screen {
    pub fn new(log: Arc<dyn HookSink>) -> (Arc<Screen>, Lines) {
        let (sender, lines) = mpsc::channel(WAITING);
        let dropped = Arc::<AtomicUsize>::default();
        (Arc::new(Screen { log, lines: sender, dropped: dropped.clone() }), Lines { lines, dropped })
    }

    fn show(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl HookSink for Screen {
    fn log(&self, level: LogLevel, line: &str) {
        self.log.log(level, line);
        self.show(line.to_owned());
    }

    fn status(&self, status: WorkloadStatus) {
        let told = format!("status {}: {}", status.state, status.message);
        self.show(told.trim_end_matches([':', ' ']).to_owned());
        self.log.status(status);
    }
}

impl Lines {
    /// The next line; never, when the hook has ended.
    pub async fn next(&mut self) -> String {
        match self.lines.recv().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }

    /// What is there now, and how much of it was too much.
    pub fn rest(&mut self) -> Vec<String> {
        let mut rest: Vec<String> = std::iter::from_fn(|| self.lines.try_recv().ok()).collect();
        match self.dropped.swap(0, Relaxed) {
            0 => {}
            count => rest.push(format!("({count} more lines are in the log)")),
        }
        rest
    }
}
