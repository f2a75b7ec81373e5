//! What is in the journal's file, and how the file of an older version becomes one of this version.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

use super::StoreError;
use crate::model::Event;

/// Each step brings a file from version n to n + 1; `PRAGMA user_version` says where it is.
const MIGRATIONS: &[fn(&Transaction<'_>) -> rusqlite::Result<()>] = &[entries_and_snapshots, a_look_back];

/// What this version writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

fn entries_and_snapshots(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE entry (
            sequence INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            by TEXT NOT NULL,
            event TEXT NOT NULL
        ) STRICT;
        CREATE TABLE snapshot (
            sequence INTEGER PRIMARY KEY,
            model BLOB NOT NULL
        ) STRICT;",
    )
}

/// Who asked, and whose status log an entry belongs to; both found without reading the rest.
fn a_look_back(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE entry ADD COLUMN user TEXT;
        ALTER TABLE entry ADD COLUMN subject TEXT;
        CREATE INDEX entry_asked ON entry (sequence) WHERE substr(by, 1, 1) <> '@';
        CREATE INDEX entry_subject ON entry (subject, sequence) WHERE subject IS NOT NULL;",
    )?;
    let mut read = transaction.prepare("SELECT sequence, event FROM entry")?;
    let mut write = transaction.prepare("UPDATE entry SET subject = ?2 WHERE sequence = ?1")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let (sequence, event) = (row.get::<_, i64>(0)?, row.get::<_, String>(1)?);
        // One that cannot be read is told of when the model is made of it.
        let subject = serde_json::from_str::<Event>(&event).ok().and_then(|event| event.subject());
        if let Some(subject) = subject {
            write.execute(params![sequence, subject.to_string()])?;
        }
    }
    Ok(())
}

/// Brings the file up to this version.
///
/// # Errors
/// [`StoreError::Newer`] if a later version of the program wrote it.
pub fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let known = VERSION;
    if version > known {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known });
    }
    let transaction = connection.transaction().map_err(failed)?;
    for step in &MIGRATIONS[version.max(0) as usize..] {
        step(&transaction).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Lets [`shrink`] work. A file that was made without has to be written anew once; on a full disk it stays as it is, and
/// its free pages are used again.
pub fn allow_shrinking(connection: &Connection) -> rusqlite::Result<()> {
    const INCREMENTAL: i64 = 2;
    let mode: i64 = connection.query_row("PRAGMA auto_vacuum", [], |row| row.get(0))?;
    if mode != INCREMENTAL {
        connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
        connection.execute_batch("VACUUM")?;
    }
    Ok(())
}

/// Gives back to the disk what was deleted, and the write-ahead log.
pub fn shrink(connection: &Connection) -> rusqlite::Result<()> {
    for pragma in ["PRAGMA incremental_vacuum", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        let mut statement = connection.prepare(pragma)?;
        let mut rows = statement.query([])?;
        // Each step frees a page.
        while rows.next()?.is_some() {}
    }
    Ok(())
}
