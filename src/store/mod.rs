//! The journal: what has happened, in order, for good.
//!
//! SQLite is the default ([`SqliteJournal`]). The trait asks for no more than an append-only log and a place for a
//! snapshot, so that another engine can stand behind it.

mod memory;
mod sqlite;

use std::path::PathBuf;

pub use memory::MemoryJournal;
pub use sqlite::SqliteJournal;

use crate::model::{Event, Millis};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Counts from 1 without gaps.
    pub sequence: u64,
    pub at: Millis,
    /// The command that asked for it, or the worker that reported it (its name begins with `@`).
    pub by: String,
    pub event: Event,
}

/// # Guarantees
/// What [`Journal::append`] returned from survives `kill -9` and a loss of power; an append is there whole or not at
/// all.
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

    /// All entries after `sequence`, in order.
    fn read_after(&mut self, sequence: u64) -> Result<Vec<Entry>, StoreError>;

    /// Keeps the model as it was after `sequence`, and drops older snapshots.
    fn write_snapshot(&mut self, sequence: u64, model: &[u8]) -> Result<(), StoreError>;

    fn read_snapshot(&mut self) -> Result<Option<(u64, Vec<u8>)>, StoreError>;
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
    /// A failure that a test asked for.
    #[error("{0}")]
    Simulated(String),
}
