//! The journal in one SQLite file.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::keep::{self, Past};
use super::{Entry, Journal, Page, StoreError, Wanted, schema};

/// Bytes of the write-ahead log that stay on disk between checkpoints.
const LOG_LIMIT: i64 = 4 << 20;

const COLUMNS: &str = "sequence, at, by, user, event";

pub struct SqliteJournal {
    connection: Connection,
    last: u64,
}

impl SqliteJournal {
    /// Opens the journal, or makes it, mode 0600.
    ///
    /// # Errors
    /// [`StoreError::Open`], or [`StoreError::Newer`] if a later version of the program wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        make_private(path)?;
        let mut connection = Connection::open(path).map_err(failed)?;
        connection
            .execute_batch(
                "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 PRAGMA busy_timeout = 5000;",
            )
            .map_err(failed)?;
        connection.pragma_update(None, "journal_size_limit", LOG_LIMIT).map_err(failed)?;
        schema::migrate(&mut connection, path)?;
        if let Err(error) = schema::allow_shrinking(&connection) {
            tracing::warn!("the journal {} cannot be made smaller: {error}", path.display());
        }
        let newest = "SELECT max((SELECT coalesce(max(sequence), 0) FROM entry),
                                 (SELECT coalesce(max(sequence), 0) FROM snapshot))";
        let last = connection.query_row(newest, [], |row| row.get::<_, i64>(0)).map_err(failed)?;
        Ok(SqliteJournal { connection, last: last as u64 })
    }

    /// A new file with what another journal holds.
    pub(super) fn write_new(path: &Path, entries: &[Entry], snapshots: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let mut journal = SqliteJournal::open(path)?;
        let failed = |source| StoreError::Sqlite { action: "copy", source };
        let transaction = journal.connection.transaction().map_err(failed)?;
        insert(&transaction, entries)?;
        for (sequence, model) in snapshots {
            transaction
                .execute("INSERT INTO snapshot VALUES (?1, ?2)", params![*sequence as i64, model])
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

/// The files beside it get its mode.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)))
        .map_err(|source| StoreError::Private { path: path.to_owned(), source })
}

fn insert(transaction: &Transaction<'_>, entries: &[Entry]) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sqlite { action: "write", source };
    let mut insert = transaction
        .prepare_cached("INSERT INTO entry (sequence, at, by, user, event, subject) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .map_err(failed)?;
    for entry in entries {
        let event = serde_json::to_string(&entry.event).map_err(|source| StoreError::Encode { source })?;
        let subject = entry.event.subject().map(|subject| subject.to_string());
        insert
            .execute(params![entry.sequence as i64, entry.at, entry.by, entry.user, event, subject])
            .map_err(failed)?;
    }
    Ok(())
}

/// Drops what the snapshot `at` stands in for, but for what is looked back at.
fn compact(transaction: &Transaction<'_>, at: i64) -> rusqlite::Result<()> {
    let surplus = {
        let mut past = transaction.prepare_cached(
            "SELECT sequence, subject, substr(by, 1, 1) <> '@', length(event) FROM entry WHERE sequence <= ?1
             ORDER BY sequence DESC",
        )?;
        let past = past.query_map([at], |row| {
            Ok(Past {
                sequence: row.get::<_, i64>(0)? as u64,
                subject: row.get(1)?,
                asked: row.get(2)?,
                bytes: row.get::<_, i64>(3)? as u64,
            })
        })?;
        keep::surplus(past.collect::<rusqlite::Result<Vec<_>>>()?)
    };
    let mut delete = transaction.prepare_cached("DELETE FROM entry WHERE sequence = ?1")?;
    for sequence in surplus {
        delete.execute([sequence as i64])?;
    }
    Ok(())
}

type Columns = (i64, i64, String, Option<String>, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

fn entry((sequence, at, by, user, event): Columns) -> Result<Entry, StoreError> {
    let sequence = sequence as u64;
    let event = serde_json::from_str(&event).map_err(|source| StoreError::Entry { sequence, source })?;
    Ok(Entry { sequence, at, by, user, event })
}

impl SqliteJournal {
    fn read(&self, condition: &str, values: impl rusqlite::Params) -> Result<Vec<Entry>, StoreError> {
        let failed = |source| StoreError::Sqlite { action: "read", source };
        let text = format!("SELECT {COLUMNS} FROM entry WHERE {condition}");
        let mut query = self.connection.prepare_cached(&text).map_err(failed)?;
        let rows = query.query_map(values, columns).map_err(failed)?;
        rows.map(|row| entry(row.map_err(failed)?)).collect()
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Sqlite { action: "write", source };
        let Some(first) = entries.first() else { return Ok(()) };
        if first.sequence != self.last + 1 {
            return Err(StoreError::Conflict { expected: first.sequence, found: self.last });
        }
        let transaction = self.connection.transaction().map_err(failed)?;
        insert(&transaction, entries)?;
        transaction.commit().map_err(failed)?;
        self.last += entries.len() as u64;
        Ok(())
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let written = self.connection.pragma_update(None, "user_version", schema::VERSION);
        written.map_err(|source| StoreError::Sqlite { action: "write", source })
    }

    fn read_after(&mut self, sequence: u64) -> Result<Vec<Entry>, StoreError> {
        self.read("sequence > ?1 ORDER BY sequence", [sequence as i64])
    }

    fn read_past(&mut self, wanted: &Wanted, page: Page) -> Result<Vec<Entry>, StoreError> {
        let (before, count) = (page.before.min(i64::MAX as u64) as i64, page.count as i64);
        let end = "sequence < ?1 ORDER BY sequence DESC LIMIT ?2";
        let mut entries = match wanted {
            Wanted::Asked => self.read(&format!("substr(by, 1, 1) <> '@' AND {end}"), params![before, count]),
            Wanted::Of(subject) => {
                self.read(&format!("subject = ?3 AND {end}"), params![before, count, subject.to_string()])
            }
        }?;
        entries.reverse();
        Ok(entries)
    }

    fn write_snapshot(&mut self, sequence: u64, model: &[u8]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Sqlite { action: "write a snapshot to", source };
        let transaction = self.connection.transaction().map_err(failed)?;
        let before = "SELECT max(sequence) FROM snapshot WHERE sequence < ?1";
        let before: Option<i64> = transaction.query_row(before, [sequence as i64], |row| row.get(0)).map_err(failed)?;
        transaction
            .execute("INSERT OR REPLACE INTO snapshot VALUES (?1, ?2)", params![sequence as i64, model])
            .map_err(failed)?;
        if let Some(before) = before {
            transaction.execute("DELETE FROM snapshot WHERE sequence < ?1", [before]).map_err(failed)?;
            compact(&transaction, before).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        schema::shrink(&self.connection)
            .map_err(|source| StoreError::Sqlite { action: "give back the space of", source })
    }

    fn read_snapshot(&mut self, back: u32) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.connection
            .query_row("SELECT sequence, model FROM snapshot ORDER BY sequence DESC LIMIT 1 OFFSET ?1", [back], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get(1)?))
            })
            .optional()
            .map_err(|source| StoreError::Sqlite { action: "read a snapshot from", source })
    }

    fn forget_snapshot(&mut self, sequence: u64) -> Result<(), StoreError> {
        let forgotten = self.connection.execute("DELETE FROM snapshot WHERE sequence = ?1", [sequence as i64]);
        forgotten.map(drop).map_err(|source| StoreError::Sqlite { action: "forget a snapshot of", source })
    }

    fn copy_to(&mut self, path: &Path) -> Result<(), StoreError> {
        make_private(path)?;
        let target = path.to_string_lossy();
        let copied = self.connection.execute("VACUUM INTO ?1", [target.as_ref()]);
        copied.map(drop).map_err(|source| StoreError::Sqlite { action: "copy", source })
    }
}
