//! The journal in one SQLite file.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Entry, Journal, StoreError};

/// Each step brings a file from version n to n + 1; `PRAGMA user_version` says where it is.
const MIGRATIONS: &[&str] = &["CREATE TABLE entry (
        sequence INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        by TEXT NOT NULL,
        event TEXT NOT NULL
    ) STRICT;
    CREATE TABLE snapshot (
        sequence INTEGER PRIMARY KEY,
        model BLOB NOT NULL
    ) STRICT;"];

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
        let private = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        // The files beside it get its mode.
        private
            .and_then(|file| file.set_permissions(Permissions::from_mode(0o600)))
            .map_err(|source| StoreError::Private { path: path.to_owned(), source })?;
        let mut connection = Connection::open(path).map_err(failed)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
            .map_err(failed)?;
        migrate(&mut connection, path)?;
        let last = connection
            .query_row("SELECT coalesce(max(sequence), 0) FROM entry", [], |row| row.get::<_, i64>(0))
            .map_err(failed)?;
        Ok(SqliteJournal { connection, last: last as u64 })
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: PathBuf::from(path), source };
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known });
    }
    let transaction = connection.transaction().map_err(failed)?;
    for step in &MIGRATIONS[version as usize..] {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(failed)?;
    transaction.commit().map_err(failed)
}

impl Journal for SqliteJournal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Sqlite { action: "write", source };
        let Some(first) = entries.first() else { return Ok(()) };
        if first.sequence != self.last + 1 {
            return Err(StoreError::Conflict { expected: first.sequence, found: self.last });
        }
        let transaction = self.connection.transaction().map_err(failed)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO entry (sequence, at, by, event) VALUES (?1, ?2, ?3, ?4)")
                .map_err(failed)?;
            for entry in entries {
                let event = serde_json::to_string(&entry.event).map_err(|source| StoreError::Encode { source })?;
                insert.execute(params![entry.sequence as i64, entry.at, entry.by, event]).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)?;
        self.last += entries.len() as u64;
        Ok(())
    }

    fn read_after(&mut self, sequence: u64) -> Result<Vec<Entry>, StoreError> {
        let failed = |source| StoreError::Sqlite { action: "read", source };
        let mut query = self
            .connection
            .prepare("SELECT sequence, at, by, event FROM entry WHERE sequence > ?1 ORDER BY sequence")
            .map_err(failed)?;
        let rows = query
            .query_map([sequence as i64], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
            })
            .map_err(failed)?;
        let mut entries = Vec::new();
        for row in rows {
            let (sequence, at, by, event) = row.map_err(failed)?;
            let sequence = sequence as u64;
            let event = serde_json::from_str(&event).map_err(|source| StoreError::Entry { sequence, source })?;
            entries.push(Entry { sequence, at, by, event });
        }
        Ok(entries)
    }

    fn write_snapshot(&mut self, sequence: u64, model: &[u8]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Sqlite { action: "write a snapshot to", source };
        let transaction = self.connection.transaction().map_err(failed)?;
        transaction.execute("DELETE FROM snapshot", []).map_err(failed)?;
        transaction.execute("INSERT INTO snapshot VALUES (?1, ?2)", params![sequence as i64, model]).map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    fn read_snapshot(&mut self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.connection
            .query_row("SELECT sequence, model FROM snapshot ORDER BY sequence DESC LIMIT 1", [], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get(1)?))
            })
            .optional()
            .map_err(|source| StoreError::Sqlite { action: "read a snapshot from", source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, MachineId};

    fn entry(sequence: u64) -> Entry {
        let event = Event::MachineDying { machine: MachineId::new(1) };
        Entry { sequence, at: 5, by: "destroy-machine 1".into(), event }
    }

    #[test]
    fn what_was_appended_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        SqliteJournal::open(&path).unwrap().append(&[entry(1), entry(2)]).unwrap();
        let mut again = SqliteJournal::open(&path).unwrap();
        assert_eq!(again.read_after(1).unwrap(), [entry(2)]);
        again.append(&[entry(3)]).unwrap();
        assert_eq!(again.read_after(0).unwrap().len(), 3);
    }

    #[test]
    fn a_gap_is_refused_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::open(&folder.path().join("journal.db")).unwrap();
        assert!(matches!(journal.append(&[entry(2)]), Err(StoreError::Conflict { expected: 2, found: 0 })));
        assert!(journal.read_after(0).unwrap().is_empty());
    }

    #[test]
    fn a_journal_of_a_newer_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(SqliteJournal::open(&path), Err(StoreError::Newer { found: 99, .. })));
    }
}
