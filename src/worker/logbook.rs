//! The log of an environment: one file a machine, and the last lines of all in memory for `debug-log`.
//!
//! # Caveats
//! Lines that were written within the last moment before a `kill -9` may be lost; nothing else depends on them.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::{LogLevel, MachineId, Millis, UnitName};

use super::ledger::Clock;
use super::logfiles::LogFiles;

/// Lines kept in memory for replay, and most bytes that they take.
const KEPT: usize = 10_000;
const KEPT_BYTES: usize = 4 << 20;
/// What a line takes besides its texts.
const LINE_BYTES: usize = size_of::<Line>() + 32;
/// Bytes of a line; what is longer is cut.
const LONGEST: usize = 16 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub sequence: u64,
    pub at: Millis,
    /// `unit-mysql-0`, `machine-1`, `machine-1-lxc-0`.
    pub entity: String,
    pub level: LogLevel,
    /// A hook, or the worker that wrote it.
    pub module: String,
    pub message: String,
}

impl Line {
    fn bytes(&self) -> usize {
        LINE_BYTES + self.entity.len() + self.module.len() + self.message.len()
    }
}

pub struct Logbook {
    clock: Clock,
    inner: Mutex<Inner>,
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    lines: VecDeque<Line>,
    /// Of all lines.
    bytes: usize,
    sequence: u64,
    /// `None` keeps the log in memory only.
    files: Option<LogFiles>,
}

impl Inner {
    fn push(&mut self, line: Line) {
        self.bytes += line.bytes();
        self.lines.push_back(line);
        while self.lines.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }
}

impl Logbook {
    /// Opens the log in a folder, whose files take at most so many bytes; the last lines of an earlier controller are
    /// read back.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: Option<(PathBuf, u64)>, clock: Clock) -> io::Result<Logbook> {
        let mut inner = Inner::default();
        if let Some((folder, budget)) = folder {
            let files = LogFiles::open(folder, budget)?;
            for line in read_back(&files)? {
                inner.sequence += 1;
                inner.push(Line { sequence: inner.sequence, ..line });
            }
            inner.files = Some(files);
        }
        let last = watch::Sender::new(inner.sequence);
        Ok(Logbook { clock, inner: Mutex::new(inner), last })
    }

    pub fn unit(&self, unit: &UnitName, machine: MachineId, line: (LogLevel, &str, &str)) {
        self.write(machine, format!("unit-{}-{}", unit.service, unit.number), line);
    }

    pub fn machine_info(&self, machine: MachineId, module: &str, message: &str) {
        self.write(machine, machine.tag(), (LogLevel::Info, module, message));
    }

    pub fn machine_error(&self, machine: MachineId, module: &str, message: &str) {
        self.write(machine, machine.tag(), (LogLevel::Error, module, message));
    }

    fn write(&self, machine: MachineId, entity: String, (level, module, message): (LogLevel, &str, &str)) {
        let mut inner = self.lock();
        for message in message.lines() {
            inner.sequence += 1;
            let line = Line {
                sequence: inner.sequence,
                at: (self.clock)(),
                entity: entity.clone(),
                level,
                module: module.to_owned(),
                message: cut(message),
            };
            if let Some(files) = &mut inner.files
                && let Err(error) = files.append(machine, &format!("{}\n", render(&line)))
            {
                tracing::warn!("the log of machine {machine} cannot be written: {error}");
            }
            inner.push(line);
        }
        let sequence = inner.sequence;
        drop(inner);
        self.last.send_replace(sequence);
    }

    /// Kept lines after number `sequence` for which `wanted` holds.
    pub fn lines_after(&self, sequence: u64, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        let inner = self.lock();
        let first = inner.lines.partition_point(|line| line.sequence <= sequence);
        inner.lines.range(first..).filter(|line| wanted(line)).cloned().collect()
    }

    /// The number of the last line; told of each new one.
    pub fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line that a machine never ended must not push out all others.
fn cut(message: &str) -> String {
    if message.len() <= LONGEST {
        return message.to_owned();
    }
    format!("{}… ({} bytes in all)", &message[..message.floor_char_boundary(LONGEST)], message.len())
}

/// `unit-mysql-0: 2026-11-23T15:46:30.123Z INFO install message`
pub fn render(line: &Line) -> String {
    format!("{}: {} {} {} {}", line.entity, time_text(line.at), line.level, line.module, line.message)
}

/// RFC 3339, UTC, milliseconds.
pub fn time_text(at: Millis) -> String {
    let time = Timestamp::from_millisecond(at).unwrap_or_default();
    format!("{time:.3}")
}

fn parse(text: &str) -> Option<Line> {
    let (entity, rest) = text.split_once(": ")?;
    let mut parts = rest.splitn(4, ' ');
    let at = parts.next()?.parse::<Timestamp>().ok()?.as_millisecond();
    let level = match parts.next()? {
        "DEBUG" => LogLevel::Debug,
        "INFO" => LogLevel::Info,
        "WARNING" => LogLevel::Warning,
        "ERROR" => LogLevel::Error,
        _ => return None,
    };
    let module = parts.next()?.to_owned();
    let message = parts.next().unwrap_or_default().to_owned();
    Some(Line { sequence: 0, at, entity: entity.to_owned(), level, module, message })
}

fn read_back(files: &LogFiles) -> io::Result<Vec<Line>> {
    let mut lines: Vec<Line> = files.tails(KEPT_BYTES as u64)?.iter().filter_map(|line| parse(line)).collect();
    // Stable: lines of one file that share a millisecond keep their order.
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn clock() -> Clock {
        Arc::new(|| 1_700_000_000_123)
    }

    #[test]
    fn lines_are_read_back_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some((folder.path().to_owned(), 1 << 20));
        let first = Logbook::open(path.clone(), clock()).unwrap();
        first.unit(&"mysql/0".parse().unwrap(), MachineId::new(1), (LogLevel::Info, "install", "one\ntwo: three"));
        first.machine_error(MachineId::new(1), "provisioner", "no room");
        let second = Logbook::open(path, clock()).unwrap();
        let texts: Vec<String> = second.lines_after(0, |_| true).iter().map(render).collect();
        assert_eq!(
            texts,
            [
                "unit-mysql-0: 2023-11-14T22:13:20.123Z INFO install one",
                "unit-mysql-0: 2023-11-14T22:13:20.123Z INFO install two: three",
                "machine-1: 2023-11-14T22:13:20.123Z ERROR provisioner no room",
            ]
        );
        assert_eq!(*second.last().borrow(), 3);
    }

    #[test]
    fn what_is_kept_in_memory_is_bounded_in_lines_and_in_bytes() {
        let book = Logbook::open(None, clock()).unwrap();
        let short = || book.machine_info(MachineId::new(1), "m", "short");
        (0..KEPT + 10).for_each(|_| short());
        assert_eq!(book.lines_after(0, |_| true).len(), KEPT);
        let long = "x".repeat(LONGEST * 2);
        (0..1_000).for_each(|_| book.machine_info(MachineId::new(1), "m", &long));
        let kept = book.lines_after(0, |_| true);
        assert!(kept.iter().map(Line::bytes).sum::<usize>() <= KEPT_BYTES && kept.len() > 200);
        assert!(kept[0].message.ends_with("x… (32768 bytes in all)"), "{}", kept[0].message.len());
    }
}
