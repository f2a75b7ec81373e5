//! The files of the log: one a machine, all together never larger than the operator allows.
//!
//! # Guarantees
//! When they are too large, the largest gives up its older half, again and again until there is some room: a machine
//! that says much loses its own past, not that of those which say little. What is left begins with a whole line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::model::MachineId;

/// Files kept open. A host lets a process have a thousand, and an environment may have more machines than that.
const OPEN: usize = 64;
/// A file that is smaller is not worth halving: it goes.
const SMALLEST: u64 = 512;

pub struct LogFiles {
    folder: PathBuf,
    budget: u64,
    sizes: BTreeMap<MachineId, u64>,
    by_size: BTreeSet<(u64, MachineId)>,
    total: u64,
    open: BTreeMap<MachineId, File>,
}

impl LogFiles {
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: PathBuf, budget: u64) -> io::Result<LogFiles> {
        std::fs::create_dir_all(&folder)?;
        let mut files = LogFiles {
            folder,
            budget,
            sizes: BTreeMap::new(),
            by_size: BTreeSet::new(),
            total: 0,
            open: BTreeMap::new(),
        };
        for (machine, aside) in found(&files.folder)? {
            let path = files.path(machine);
            if aside {
                join_aside(&path)?;
            }
            files.resize(machine, std::fs::metadata(&path)?.len());
        }
        files.make_room()?;
        Ok(files)
    }

    fn path(&self, machine: MachineId) -> PathBuf {
        self.folder.join(format!("{}.log", machine.tag()))
    }

    pub fn append(&mut self, machine: MachineId, text: &str) -> io::Result<()> {
        if self.open.len() >= OPEN && !self.open.contains_key(&machine) {
            self.open.clear(); // opening one again is quick
        }
        if !self.open.contains_key(&machine) {
            let file = OpenOptions::new().create(true).append(true).open(self.path(machine))?;
            self.open.insert(machine, file);
        }
        if let Some(file) = self.open.get_mut(&machine) {
            file.write_all(text.as_bytes())?;
        }
        let size = self.sizes.get(&machine).copied().unwrap_or_default();
        self.resize(machine, size + text.len() as u64);
        if self.total > self.budget { self.make_room() } else { Ok(()) }
    }

    fn resize(&mut self, machine: MachineId, size: u64) {
        let before = self.sizes.insert(machine, size).unwrap_or_default();
        self.by_size.remove(&(before, machine));
        self.by_size.insert((size, machine));
        self.total = self.total - before + size;
    }

    fn forget(&mut self, machine: MachineId) {
        let size = self.sizes.remove(&machine).unwrap_or_default();
        self.by_size.remove(&(size, machine));
        self.total -= size;
    }

    /// A sixteenth more than is needed, so that this is seldom.
    fn make_room(&mut self) -> io::Result<()> {
        if self.total <= self.budget {
            return Ok(());
        }
        while self.total > self.budget - self.budget / 16 {
            let Some((size, machine)) = self.by_size.last().copied() else { return Ok(()) };
            self.open.remove(&machine);
            let path = self.path(machine);
            let left = if size < SMALLEST { 0 } else { halve(&path)? };
            if left == 0 {
                remove_if_there(&path)?;
                self.forget(machine);
            } else {
                self.resize(machine, left);
            }
        }
        Ok(())
    }

    /// The last lines of all files, about so many bytes of them, each file's in order.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn tails(&self, bytes: u64) -> io::Result<Vec<String>> {
        let sizes: Vec<u64> = self.sizes.values().copied().collect();
        let share = share(&sizes, bytes);
        let mut lines = Vec::new();
        for (machine, size) in &self.sizes {
            let reader = from_line_after(&self.path(*machine), size.saturating_sub(share))?;
            let text = reader.split(b'\n').map_while(Result::ok);
            lines.extend(text.map(|line| String::from_utf8_lossy(&line).into_owned()));
        }
        Ok(lines)
    }
}

/// The machines with a log, and whether a file of 0.1 is beside it.
fn found(folder: &Path) -> io::Result<BTreeMap<MachineId, bool>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let (tag, aside) = match name.strip_suffix(".log.1") {
            Some(tag) => (Some(tag), true),
            None => (name.strip_suffix(".log"), false),
        };
        if let Some(machine) = tag.and_then(MachineId::from_tag) {
            *found.entry(machine).or_default() |= aside;
        }
    }
    Ok(found)
}

/// 0.1 put a full file aside as `<name>.1`: its lines come first.
fn join_aside(path: &Path) -> io::Result<()> {
    let aside = path.with_extension("log.1");
    if let Ok(mut newer) = File::open(path) {
        let mut joined = OpenOptions::new().append(true).open(&aside)?;
        io::copy(&mut newer, &mut joined)?;
    }
    std::fs::rename(aside, path)
}

/// Most bytes of each file so that all together are at most `most`: small files are read whole.
fn share(sizes: &[u64], most: u64) -> u64 {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    let (mut left, mut files) = (most, sorted.len() as u64);
    for size in sorted {
        if size > left / files {
            return left / files;
        }
        left -= size;
        files -= 1;
    }
    u64::MAX
}

/// Reads from the first line that begins at or after `offset`.
fn from_line_after(path: &Path, offset: u64) -> io::Result<BufReader<File>> {
    let mut file = File::open(path)?;
    let mut skipped = Vec::new();
    // From the byte before: if that ends a line, the next one is whole.
    file.seek(SeekFrom::Start(offset.saturating_sub(1)))?;
    let mut reader = BufReader::new(file);
    if offset > 0 {
        reader.read_until(b'\n', &mut skipped)?;
    }
    Ok(reader)
}

/// Gives up the older half. Returns the bytes that are left.
fn halve(path: &Path) -> io::Result<u64> {
    let size = std::fs::metadata(path)?.len();
    let scratch = path.with_extension("log.new");
    let mut newer = from_line_after(path, size / 2)?;
    let left = io::copy(&mut newer.by_ref(), &mut File::create(&scratch)?)?;
    std::fs::rename(&scratch, path)?;
    Ok(left)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_disk(folder: &Path) -> u64 {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    fn line(number: usize) -> String {
        format!("line {number} {}\n", "x".repeat(80))
    }

    #[test]
    fn all_files_together_stay_within_the_budget_and_the_quiet_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = LogFiles::open(folder.path().to_owned(), 100_000).unwrap();
        files.append(MachineId::new(1), "all that it ever said\n").unwrap();
        for number in 0..5_000 {
            files.append(MachineId::new(2), &line(number)).unwrap();
            files.append(MachineId::new(3), &line(number)).unwrap();
        }
        assert!(on_disk(folder.path()) <= 100_000 && on_disk(folder.path()) > 80_000);
        assert_eq!(std::fs::read_to_string(folder.path().join("machine-1.log")).unwrap(), "all that it ever said\n");
        for machine in [2, 3] {
            let text = std::fs::read_to_string(folder.path().join(format!("machine-{machine}.log"))).unwrap();
            assert!(text.starts_with("line ") && text.ends_with(&line(4_999)) && text.len() > 20_000);
        }
    }

    #[test]
    fn a_smaller_budget_holds_from_the_next_start_on_and_for_any_number_of_machines() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = LogFiles::open(folder.path().to_owned(), 1 << 20).unwrap();
        for machine in 0..200 {
            for number in 0..10 {
                files.append(MachineId::new(machine), &line(number)).unwrap();
            }
        }
        drop(files);
        drop(LogFiles::open(folder.path().to_owned(), 20_000).unwrap());
        assert!(on_disk(folder.path()) <= 20_000, "{}", on_disk(folder.path()));
    }

    #[test]
    fn files_of_0_1_are_joined() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("machine-4.log.1"), "older\n").unwrap();
        std::fs::write(folder.path().join("machine-4.log"), "newer\n").unwrap();
        std::fs::write(folder.path().join("machine-5.log.1"), "alone\n").unwrap();
        std::fs::write(folder.path().join("controller.log"), "not ours\n").unwrap();
        let files = LogFiles::open(folder.path().to_owned(), 1 << 20).unwrap();
        assert_eq!(files.tails(1 << 20).unwrap(), ["older", "newer", "alone"]);
        assert!(!folder.path().join("machine-4.log.1").exists());
    }

    #[test]
    fn small_files_are_read_whole_and_large_ones_share_the_rest() {
        assert_eq!(share(&[10, 20], 100), u64::MAX);
        assert_eq!(share(&[10, 500, 500], 110), 50);
        assert_eq!(share(&[500, 500], 110), 55);
        let folder = tempfile::tempdir().unwrap();
        let mut files = LogFiles::open(folder.path().to_owned(), 1 << 20).unwrap();
        files.append(MachineId::new(1), "short\n").unwrap();
        (0..100).for_each(|number| files.append(MachineId::new(2), &line(number)).unwrap());
        let tails = files.tails(700).unwrap();
        assert_eq!(tails.first().map(String::as_str), Some("short"));
        assert!(tails.len() > 5 && tails[1..].iter().all(|text| text.starts_with("line 9")), "{tails:?}");
    }
}
