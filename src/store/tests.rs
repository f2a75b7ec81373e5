//! What every journal promises, tried on each of them; and what only a file can get wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::model::{Event, MachineId, WorkloadState, WorkloadStatus};

fn asked(sequence: u64) -> Entry {
    let event = Event::MachineDying { machine: MachineId::new(1) };
    Entry { sequence, at: 5, by: "destroy-machine 1".into(), user: Some("ana".into()), event }
}

/// Of a charm that says something else every five minutes.
fn told(sequence: u64, unit: &str) -> Entry {
    let status = WorkloadStatus { state: WorkloadState::Active, message: format!("{sequence} queries a second") };
    let event = Event::UnitStatusSet { unit: unit.parse().unwrap(), status };
    Entry { sequence, at: 6, by: "@unit-agent".into(), user: None, event }
}

fn each(test: impl Fn(&mut dyn Journal)) {
    let folder = tempfile::tempdir().unwrap();
    test(&mut SqliteJournal::open(&folder.path().join("journal.db")).unwrap());
    test(&mut MemoryJournal::default());
}

fn sequences(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.sequence).collect()
}

/// Bytes of the file and of those beside it.
fn size(path: &Path) -> u64 {
    let beside = |end: &str| path.with_extension(format!("db{end}"));
    ["", "-wal"].iter().filter_map(|end| std::fs::metadata(beside(end)).ok()).map(|file| file.len()).sum()
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    each(|journal| {
        assert!(matches!(journal.append(&[asked(2)]), Err(StoreError::Conflict { expected: 2, found: 0 })));
        assert!(journal.read_after(0).unwrap().is_empty());
        journal.append(&[asked(1)]).unwrap();
        assert!(matches!(journal.append(&[asked(1)]), Err(StoreError::Conflict { expected: 1, found: 1 })));
    });
}

#[test]
fn a_look_back_gives_the_newest_of_one_or_what_commands_asked_for() {
    each(|journal| {
        journal.append(&[asked(1), told(2, "db/0"), told(3, "app/0"), told(4, "db/0"), asked(5)]).unwrap();
        let mut past = |wanted, before, count| sequences(&journal.read_past(&wanted, Page { before, count }).unwrap());
        let of = |unit: &str| Wanted::Of(Subject::Unit(unit.parse().unwrap()));
        assert_eq!(past(of("db/0"), u64::MAX, 9), [2, 4]);
        assert_eq!(past(of("db/0"), u64::MAX, 1), [4]);
        assert_eq!(past(of("db/0"), 4, 9), [2]);
        assert_eq!(past(Wanted::Of(Subject::Machine(MachineId::new(1))), u64::MAX, 9), [1, 5]);
        assert_eq!(past(Wanted::Asked, u64::MAX, 9), [1, 5]);
        assert_eq!(past(Wanted::Asked, 5, 9), [1]);
    });
}

#[test]
fn what_the_older_snapshot_stands_in_for_goes_and_the_rest_is_whole() {
    each(|journal| {
        let mut next = 1;
        let mut write = |journal: &mut dyn Journal, count: u64| {
            let entries: Vec<Entry> = (next..next + count).map(|n| told(n, "db/0")).collect();
            next += count;
            journal.append(&entries).unwrap();
        };
        journal.append(&[]).unwrap();
        write(journal, 1_000);
        journal.write_snapshot(1_000, b"one").unwrap();
        // With one snapshot only, all is still there without it.
        assert_eq!(journal.read_after(0).unwrap().len(), 1_000);
        write(journal, 1_000);
        journal.write_snapshot(2_000, b"two").unwrap();
        write(journal, 500);
        assert_eq!(journal.read_snapshot(0).unwrap(), Some((2_000, b"two".to_vec())));
        assert_eq!(journal.read_snapshot(1).unwrap(), Some((1_000, b"one".to_vec())));
        assert_eq!(sequences(&journal.read_after(1_000).unwrap()), (1_001..=2_500).collect::<Vec<_>>());
        let kept = journal.read_after(0).unwrap().len();
        assert!(kept > 1_500 && kept < 1_700, "{kept}");
        write(journal, 500);
        journal.write_snapshot(3_000, b"three").unwrap();
        assert_eq!(journal.read_snapshot(1).unwrap(), Some((2_000, b"two".to_vec())));
        assert_eq!(journal.read_snapshot(2).unwrap(), None);
        journal.forget_snapshot(3_000).unwrap();
        assert_eq!(journal.read_snapshot(0).unwrap(), Some((2_000, b"two".to_vec())));
        assert_eq!(sequences(&journal.read_after(2_000).unwrap()), (2_001..=3_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_year_of_statuses_does_not_grow_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = SqliteJournal::open(&path).unwrap();
    journal.append(&[asked(1)]).unwrap();
    let mut last = 1;
    let mut sizes = Vec::new();
    // 12 an hour for a year are 105,120.
    for _ in 0..53 {
        let entries: Vec<Entry> = (last + 1..=last + 2_000).map(|n| told(n, "db/0")).collect();
        journal.append(&entries).unwrap();
        last += 2_000;
        journal.write_snapshot(last, &[b'x'; 50_000]).unwrap();
        sizes.push(size(&path));
    }
    let most = sizes.iter().max().unwrap();
    assert!(*most < 2 << 20, "{most} bytes");
    assert!(sizes[52] <= sizes[3] + 100_000, "{sizes:?}");
    let past = journal.read_past(&Wanted::Asked, Page { before: u64::MAX, count: 9 }).unwrap();
    assert_eq!(past, [asked(1)], "what was asked for stays");
}

#[test]
fn space_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = SqliteJournal::open(&path).unwrap();
    for (sequence, bytes) in [(1, 8 << 20), (2, 10), (3, 10)] {
        journal.append(&[asked(sequence)]).unwrap();
        journal.write_snapshot(sequence, &vec![b'x'; bytes]).unwrap();
    }
    assert!(size(&path) < 1 << 20, "{}", size(&path));
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    SqliteJournal::open(&path).unwrap().append(&[asked(1), told(2, "db/0")]).unwrap();
    let mut again = SqliteJournal::open(&path).unwrap();
    assert_eq!(again.read_after(1).unwrap(), [told(2, "db/0")]);
    again.append(&[asked(3)]).unwrap();
    assert_eq!(again.read_after(0).unwrap().len(), 3);
}

/// What is on the disk at a moment, without anything being closed.
#[test]
fn a_killed_process_leaves_all_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = SqliteJournal::open(&path).unwrap();
    for sequence in 1..=5 {
        journal.append(&[told(sequence, "db/0")]).unwrap();
        if sequence % 2 == 0 {
            journal.write_snapshot(sequence, b"model").unwrap();
        }
        let left = tempfile::tempdir().unwrap();
        for name in ["journal.db", "journal.db-wal"] {
            std::fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
        }
        let mut found = SqliteJournal::open(&left.path().join("journal.db")).unwrap();
        assert_eq!(found.read_after(0).unwrap(), journal.read_after(0).unwrap());
        assert_eq!(found.read_snapshot(0).unwrap(), journal.read_snapshot(0).unwrap());
        found.append(&[asked(sequence + 1)]).unwrap();
    }
}

#[test]
fn a_copy_is_whole_and_private() {
    each(|journal| {
        journal.append(&[asked(1), told(2, "db/0")]).unwrap();
        journal.write_snapshot(2, b"model").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.db");
        journal.copy_to(&path).unwrap();
        journal.append(&[asked(3)]).unwrap();
        let mut copy = SqliteJournal::open(&path).unwrap();
        assert_eq!(copy.read_after(0).unwrap(), [asked(1), told(2, "db/0")]);
        assert_eq!(copy.read_snapshot(0).unwrap(), Some((2, b"model".to_vec())));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn a_journal_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteJournal::open(&path), Err(StoreError::Newer { found: 99, .. })));
}

/// As 0.1 has made it, with a snapshot.
#[test]
fn a_file_of_the_first_schema_is_read_and_can_be_looked_back_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        r#"PRAGMA journal_mode = WAL;
        CREATE TABLE entry (sequence INTEGER PRIMARY KEY, at INTEGER NOT NULL, by TEXT NOT NULL, event TEXT NOT NULL) STRICT;
        CREATE TABLE snapshot (sequence INTEGER PRIMARY KEY, model BLOB NOT NULL) STRICT;
        INSERT INTO entry VALUES (1, 5, 'destroy-machine 1', '{"machine-dying":{"machine":1}}'),
            (2, 6, '@unit-agent', '{"unit-dying":{"unit":"db/0"}}');
        INSERT INTO snapshot VALUES (1, x'7b7d');
        PRAGMA user_version = 1;"#,
    )
    .unwrap();
    drop(old);
    let mut journal = SqliteJournal::open(&path).unwrap();
    let all = journal.read_after(0).unwrap();
    assert_eq!(all[0], Entry { user: None, ..asked(1) });
    let of = |subject| Wanted::Of(subject);
    let page = Page { before: u64::MAX, count: 9 };
    assert_eq!(journal.read_past(&of(Subject::Unit("db/0".parse().unwrap())), page).unwrap(), all[1..]);
    assert_eq!(journal.read_past(&of(Subject::Machine(MachineId::new(1))), page).unwrap(), all[..1]);
    assert_eq!(journal.read_snapshot(0).unwrap(), Some((1, b"{}".to_vec())));
    journal.append(&[asked(3)]).unwrap();
    for sequence in [4, 5, 6] {
        journal.append(&[asked(sequence)]).unwrap();
        journal.write_snapshot(sequence, &vec![b'x'; if sequence == 4 { 4 << 20 } else { 10 }]).unwrap();
    }
    assert!(size(&path) < 1 << 20, "space is given back in an old file too: {}", size(&path));
}
