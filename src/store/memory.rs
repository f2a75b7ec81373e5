//! A journal in memory, for tests and benchmarks: it keeps state and can be told to fail.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::keep::{self, Past};
use super::{Entry, Journal, Page, SNAPSHOT_EVERY, SqliteJournal, StoreError, Wanted};

/// Clones share their content, so that a test can start a second controller on what the first one left.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    /// The older one first.
    snapshots: Vec<(u64, Vec<u8>)>,
    last: u64,
    /// All that was ever appended, for whoever wants to know what happened.
    ever: Vec<Entry>,
    snapshot_every: Option<u64>,
    fail_after: Option<u64>,
}

impl Inner {
    fn writable(&mut self) -> Result<(), StoreError> {
        let full = self.fail_after.is_some_and(|limit| self.last >= limit);
        if full { Err(StoreError::Simulated("database or disk is full".to_owned())) } else { Ok(()) }
    }
}

impl MemoryJournal {
    /// Every append fails once `entries` entries were appended; `None` heals it.
    pub fn fail_after(&self, entries: Option<u64>) {
        self.with(|inner| inner.fail_after = entries);
    }

    /// So that a test need not write thousands of entries.
    pub fn snapshot_every(&self, entries: u64) {
        self.with(|inner| inner.snapshot_every = Some(entries));
    }

    /// All that was ever appended, what has been dropped since included.
    pub fn entries(&self) -> Vec<Entry> {
        self.with(|inner| inner.ever.clone())
    }

    /// What is still there.
    pub fn kept(&self) -> Vec<Entry> {
        self.with(|inner| inner.entries.clone())
    }

    /// As if the disk had lost it: what is in the newest snapshot is not what was written.
    pub fn spoil_newest_snapshot(&self) {
        self.with(|inner| {
            if let Some((_, model)) = inner.snapshots.last_mut() {
                model.truncate(model.len() / 2);
            }
        });
    }

    fn with<R>(&self, body: impl FnOnce(&mut Inner) -> R) -> R {
        body(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn past(entry: &Entry) -> Past {
    Past {
        sequence: entry.sequence,
        subject: entry.event.subject().map(|subject| subject.to_string()),
        asked: entry.is_asked(),
        bytes: serde_json::to_vec(&entry.event).map_or(0, |text| text.len() as u64),
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.with(|inner| {
            inner.writable()?;
            let found = inner.last;
            match entries.first() {
                Some(first) if first.sequence != found + 1 => {
                    Err(StoreError::Conflict { expected: first.sequence, found })
                }
                _ => {
                    inner.last += entries.len() as u64;
                    inner.entries.extend_from_slice(entries);
                    inner.ever.extend_from_slice(entries);
                    Ok(())
                }
            }
        })
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        self.with(Inner::writable)
    }

    fn read_after(&mut self, sequence: u64) -> Result<Vec<Entry>, StoreError> {
        Ok(self.with(|inner| {
            let first = inner.entries.partition_point(|entry| entry.sequence <= sequence);
            inner.entries[first..].to_vec()
        }))
    }

    fn read_past(&mut self, wanted: &Wanted, page: Page) -> Result<Vec<Entry>, StoreError> {
        let is_wanted = |entry: &&Entry| match wanted {
            Wanted::Asked => entry.is_asked(),
            Wanted::Of(subject) => entry.event.subject().as_ref() == Some(subject),
        };
        Ok(self.with(|inner| {
            let end = inner.entries.partition_point(|entry| entry.sequence < page.before);
            let mut newest: Vec<Entry> =
                inner.entries[..end].iter().rev().filter(is_wanted).take(page.count).cloned().collect();
            newest.reverse();
            newest
        }))
    }

    fn write_snapshot(&mut self, sequence: u64, model: &[u8]) -> Result<(), StoreError> {
        self.with(|inner| {
            inner.snapshots.retain(|(at, _)| *at != sequence);
            let before = inner.snapshots.last().map(|(at, _)| *at);
            inner.snapshots.push((sequence, model.to_vec()));
            if let Some(before) = before {
                inner.snapshots.retain(|(at, _)| *at >= before);
                let end = inner.entries.partition_point(|entry| entry.sequence <= before);
                let surplus = keep::surplus(inner.entries[..end].iter().rev().map(past));
                let gone: std::collections::HashSet<u64> = surplus.into_iter().collect();
                inner.entries.retain(|entry| !gone.contains(&entry.sequence));
            }
        });
        Ok(())
    }

    fn read_snapshot(&mut self, back: u32) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        Ok(self.with(|inner| inner.snapshots.iter().rev().nth(back as usize).cloned()))
    }

    fn forget_snapshot(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.with(|inner| inner.snapshots.retain(|(at, _)| *at != sequence));
        Ok(())
    }

    fn copy_to(&mut self, path: &Path) -> Result<(), StoreError> {
        self.with(|inner| SqliteJournal::write_new(path, &inner.entries, &inner.snapshots))
    }

    fn snapshot_every(&self) -> u64 {
        self.with(|inner| inner.snapshot_every.unwrap_or(SNAPSHOT_EVERY))
    }
}
