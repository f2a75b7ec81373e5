//! A journal in memory, for tests and benchmarks: it keeps state and can be told to fail.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Entry, Journal, StoreError};

/// Clones share their content, so that a test can start a second controller on what the first one left.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    snapshot: Option<(u64, Vec<u8>)>,
    fail_after: Option<u64>,
}

impl Inner {
    fn writable(&mut self) -> Result<(), StoreError> {
        let full = self.fail_after.is_some_and(|limit| self.entries.len() as u64 >= limit);
        if full { Err(StoreError::Simulated("database or disk is full".to_owned())) } else { Ok(()) }
    }
}

impl MemoryJournal {
    /// Every append fails once the journal holds `entries` entries; `None` heals it.
    pub fn fail_after(&self, entries: Option<u64>) {
        self.with(|inner| inner.fail_after = entries);
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.with(|inner| inner.entries.clone())
    }

    fn with<R>(&self, body: impl FnOnce(&mut Inner) -> R) -> R {
        body(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.with(|inner| {
            inner.writable()?;
            let found = inner.entries.len() as u64;
            match entries.first() {
                Some(first) if first.sequence != found + 1 => {
                    Err(StoreError::Conflict { expected: first.sequence, found })
                }
                _ => {
                    inner.entries.extend_from_slice(entries);
                    Ok(())
                }
            }
        })
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        self.with(Inner::writable)
    }

    fn read_after(&mut self, sequence: u64) -> Result<Vec<Entry>, StoreError> {
        Ok(self.with(|inner| inner.entries.iter().skip(sequence as usize).cloned().collect()))
    }

    fn write_snapshot(&mut self, sequence: u64, model: &[u8]) -> Result<(), StoreError> {
        self.with(|inner| inner.snapshot = Some((sequence, model.to_vec())));
        Ok(())
    }

    fn read_snapshot(&mut self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        Ok(self.with(|inner| inner.snapshot.clone()))
    }
}
