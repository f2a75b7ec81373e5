//! The journal: what has happened, in order, for good.
//!
//! SQLite is the default ([`SqliteJournal`]). The trait asks for no more than a log, a place for snapshots and two ways
//! to look back, so that another engine can stand behind it.
//!
//! # How it stays small
//! Two snapshots are kept. Entries up to the older one are needed for nothing but `history` and `show-status-log`:
//! [`keep`] says which of them stay. Should the newer snapshot turn out to be unreadable, the older one and the entries
//! after it, all of which are there, give the same.

pub mod keep;
mod memory;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use memory::MemoryJournal;
pub use sqlite::SqliteJournal;

use crate::model::{Event, Millis, Subject};

/// Entries from one snapshot to the next, at least: a start reads about that many.
const SNAPSHOT_EVERY: u64 = 2_000;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Counts from 1 without gaps.
    pub sequence: u64,
    pub at: Millis,
    /// The command that asked for it, or the worker that reported it (its name begins with `@`).
    pub by: String,
    /// Who typed the command, as the kernel tells.
    pub user: Option<String>,
    pub event: Event,
}

impl Entry {
    /// Asked for by a command, not reported by a worker.
    pub fn is_asked(&self) -> bool {
        !self.by.starts_with('@')
    }
}

/// Whose past is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What commands asked for.
    Asked,
    Of(Subject),
}

/// The newest `count` entries before number `before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub before: u64,
    pub count: usize,
}

/// # Guarantees
/// What [`Journal::append`] returned from survives `kill -9` and a loss of power; an append is there whole or not at
/// all, and so is a snapshot with the dropping of what it stands in for.
pub trait Journal: Send {
    /// Appends entries whose numbers follow the last one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if somebody else appended meanwhile; otherwise the engine's own words. Nothing is
    /// appended then.
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError>;

    /// Finds out, by writing what it has already, whether it can be written.
    ///
    /// # Errors
    /// The engine's own words.
    fn probe(&mut self) -> Result<(), StoreError>;

    /// All entries after `sequence`, in order. Entries up to the older snapshot may be missing.
    fn read_after(&mut self, sequence: u64) -> Result<Vec<Entry>, StoreError>;

    /// A look back, the oldest first. Costs as much as it gives, however long the journal is.
    fn read_past(&mut self, wanted: &Wanted, page: Page) -> Result<Vec<Entry>, StoreError>;

    /// Keeps the model as it was after `sequence`, beside the snapshot before, and drops what they stand in for.
    /// The caller has made sure that `model` can be read again.
    fn write_snapshot(&mut self, sequence: u64, model: &[u8]) -> Result<(), StoreError>;

    /// The newest snapshot (`back` is 0), or the one before it (1).
    fn read_snapshot(&mut self, back: u32) -> Result<Option<(u64, Vec<u8>)>, StoreError>;

    /// Forgets a snapshot that cannot be read, so that the other one is never dropped in its favour.
    fn forget_snapshot(&mut self, sequence: u64) -> Result<(), StoreError>;

    /// Writes all of it, as it is at this moment, to a new SQLite file.
    fn copy_to(&mut self, path: &Path) -> Result<(), StoreError>;

    fn snapshot_every(&self) -> u64 {
        SNAPSHOT_EVERY
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the journal {}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("cannot make the journal {} private", path.display())]
    Private { path: PathBuf, source: std::io::Error },
    #[error("the journal {} was written by a newer version (schema {found}, this version knows {known})", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("cannot {action} the journal")]
    Sqlite { action: &'static str, source: rusqlite::Error },
    #[error("entry {sequence} of the journal cannot be read")]
    Entry { sequence: u64, source: serde_json::Error },
    #[error("cannot write an entry of the journal")]
    Encode { source: serde_json::Error },
    #[error("the journal was written to by someone else: expected entry {expected}, it has {found}")]
    Conflict { expected: u64, found: u64 },
    #[error("the journal cannot be read: entry {expected} is not there any more, and no snapshot stands in for it")]
    Gap { expected: u64 },
    #[error("cannot start the thread that writes the journal")]
    Thread { source: std::io::Error },
    /// A failure that a test asked for.
    #[error("{0}")]
    Simulated(String),
}
