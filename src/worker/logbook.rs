//! The log of an environment: one file a machine, and the last lines of all in memory for `debug-log`.
//!
//! # Caveats
//! Lines that were written within the last moment before a `kill -9` may be lost; nothing else depends on them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::{LogLevel, MachineId, Millis, UnitName};

use super::capped::CappedFile;
use super::ledger::Clock;

/// Lines kept in memory for replay.
const KEPT: usize = 10_000;
/// Files kept open. A host lets a process have a thousand, and an environment may have more machines than that.
const OPEN: usize = 64;

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

pub struct Logbook {
    /// `None` keeps the log in memory only (simulated environments).
    folder: Option<PathBuf>,
    clock: Clock,
    inner: Mutex<Inner>,
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    lines: VecDeque<Line>,
    sequence: u64,
    files: BTreeMap<MachineId, CappedFile>,
}

impl Logbook {
    /// Opens the log in `folder`; the last lines of an earlier controller are read back.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: Option<PathBuf>, clock: Clock) -> io::Result<Logbook> {
        let mut inner = Inner::default();
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder)?;
            inner.lines = read_back(folder)?;
            for line in &mut inner.lines {
                inner.sequence += 1;
                line.sequence = inner.sequence;
            }
        }
        let last = watch::Sender::new(inner.sequence);
        Ok(Logbook { folder, clock, inner: Mutex::new(inner), last })
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
                message: message.to_owned(),
            };
            if let Some(folder) = &self.folder
                && let Err(error) = append(&mut inner.files, folder, machine, &line)
            {
                tracing::warn!("the log of machine {machine} cannot be written: {error}");
            }
            inner.lines.push_back(line);
            if inner.lines.len() > KEPT {
                inner.lines.pop_front();
            }
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

fn append(
    files: &mut BTreeMap<MachineId, CappedFile>,
    folder: &Path,
    machine: MachineId,
    line: &Line,
) -> io::Result<()> {
    if files.len() >= OPEN && !files.contains_key(&machine) {
        files.clear(); // opening one again is quick
    }
    let file = match files.entry(machine) {
        Entry::Occupied(open) => open.into_mut(),
        Entry::Vacant(vacant) => vacant.insert(CappedFile::open(&folder.join(format!("{}.log", machine.tag())))?),
    };
    file.write_all(format!("{}\n", render(line)).as_bytes())
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

fn read_back(folder: &Path) -> io::Result<VecDeque<Line>> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("machine-") {
            let reader = BufReader::new(File::open(&path)?);
            lines.extend(reader.split(b'\n').map_while(Result::ok).filter_map(|l| parse(&String::from_utf8_lossy(&l))));
        }
    }
    // Stable: lines of one file that share a millisecond keep their order.
    lines.sort_by_key(|line| line.at);
    let surplus = lines.len().saturating_sub(KEPT);
    Ok(lines.drain(surplus..).collect())
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
        let path = Some(folder.path().to_owned());
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
}
