//! A container's cgroups: what they leave it of the host; held still by the kernel's freezer; removed.
//!
//! The freezer's file is written directly: the tools of the hypervisors look for the result a second later.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::sched_getaffinity;

use crate::provider::local::hardware::Limits;
use crate::provider::local::helper::payload_folders;
use crate::provider::local::record::{folder_entries, io_error};
use crate::provider::{InstanceName, ProviderError};

/// How long all processes may take until they stand still. One that waits for a disk does not before it has its answer.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// A container's freezer, of the old or the new kind of cgroups.
#[derive(Debug, PartialEq, Eq)]
enum Freezer {
    Old(PathBuf),
    New(PathBuf),
}

impl Freezer {
    /// All that hold the container.
    fn all(init: i32) -> Vec<Self> {
        let text = std::fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap_or_default();
        let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let folders = payload_folders(&text, pure);
        // What is frozen by the new kind can still be killed.
        let new = folders.iter().filter(|folder| folder.join("cgroup.freeze").exists()).cloned().map(Self::New);
        let old = folders.iter().filter(|folder| folder.join("freezer.state").exists()).cloned().map(Self::Old);
        new.chain(old).collect()
    }

    fn set(&self, frozen: bool) -> Result<(), ProviderError> {
        let (path, word) = match self {
            Self::New(folder) => (folder.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
            Self::Old(folder) => (folder.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }),
        };
        std::fs::write(&path, word).map_err(|e| io_error("write", &path, e))
    }

    fn is_frozen(&self) -> bool {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        match self {
            Self::New(folder) => read(folder.join("cgroup.events")).lines().any(|line| line == "frozen 1"),
            Self::Old(folder) => read(folder.join("freezer.state")).trim() == "FROZEN",
        }
    }
}

/// Returns when everything in the container stands still.
pub async fn freeze(name: &InstanceName, init: i32) -> Result<(), ProviderError> {
    let unsupported = || ProviderError::Unsupported { action: "pause", name: name.clone() };
    let freezer = Freezer::all(init).into_iter().next().ok_or_else(unsupported)?;
    let begun = Instant::now();
    freezer.set(true)?;
    while !freezer.is_frozen() {
        if begun.elapsed() > FREEZE_LIMIT {
            freezer.set(false)?;
            let (seconds, output) = (FREEZE_LIMIT.as_secs(), "its processes do not stand still".to_owned());
            return Err(ProviderError::NotReady { name: name.clone(), seconds, output });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Lets everything go on, whoever held it and by whichever freezer; nothing if it does.
pub fn thaw(init: i32) -> Result<(), ProviderError> {
    Freezer::all(init).iter().try_for_each(|freezer| freezer.set(false))
}

/// What a container that somebody else set up gets at most, whichever way it was told.
pub fn limits(init: i32) -> Limits {
    let text = std::fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap_or_default();
    let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let told = told_limits(&payload_folders(&text, pure));
    // It may be kept to some of the processors, too.
    let allowed = sched_getaffinity(Pid::from_raw(init)).ok().map(|set| set.count());
    Limits { cores: told.cores.into_iter().chain(allowed).min(), ..told }
}

/// The least of what these groups and all above them say, in files of the old and the new kind.
fn told_limits(groups: &[PathBuf]) -> Limits {
    let read = |group: &Path, file: &str| std::fs::read_to_string(group.join(file)).ok();
    let number = |text: String| text.trim().parse::<u64>().ok();
    let above = || groups.iter().flat_map(|group| group.ancestors());
    let bytes = above().filter_map(|group| {
        let told = read(group, "memory.max").or_else(|| read(group, "memory.limit_in_bytes"))?;
        number(told)
    });
    let cores = above().filter_map(|group| {
        let (quota, period) = match read(group, "cpu.max") {
            Some(told) => told.split_once(' ').map(|(quota, period)| (quota.to_owned(), period.to_owned()))?,
            None => (read(group, "cpu.cfs_quota_us")?, read(group, "cpu.cfs_period_us")?),
        };
        // No number is no limit: `max`, and -1 of the old kind.
        let (quota, period) = (number(quota)?, number(period).filter(|period| *period > 0)?);
        u32::try_from(quota.div_ceil(period)).ok()
    });
    Limits { memory: bytes.min().map(|bytes| bytes >> 20), cores: cores.min() }
}

/// Removes this top group from every hierarchy. Best effort: an empty group costs nothing.
pub fn remove_groups(name: &str) {
    for hierarchy in hierarchies() {
        remove_group(&hierarchy.join(name));
    }
}

/// The same with those below a top group whose names are meant.
pub fn remove_groups_below(top: &str, meant: impl Fn(&str) -> bool) {
    for folder in hierarchies().into_iter().map(|hierarchy| hierarchy.join(top)) {
        for name in folder_entries(&folder).unwrap_or_default().iter().filter(|name| meant(name)) {
            remove_group(&folder.join(name));
        }
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let entries = folder_entries(base).unwrap_or_default().into_iter().map(|entry| base.join(entry));
    std::iter::once(base.to_owned()).chain(entries).collect()
}

/// Files of a cgroup folder go with it; only its folders must be removed first.
fn remove_group(group: &Path) {
    for entry in folder_entries(group).unwrap_or_default() {
        let path = group.join(entry);
        if path.is_dir() {
            remove_group(&path);
        }
    }
    let _ = std::fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &str)]) -> Limits {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        }
        told_limits(&["memory/web/payload", "cpu/web/payload"].map(|group| folder.path().join(group)))
    }

    #[test]
    fn the_least_of_what_a_group_and_those_above_it_say_counts() {
        let old = [
            ("memory/web/memory.limit_in_bytes", "314572800"),
            ("memory/web/payload/memory.limit_in_bytes", "9223372036854771712"),
            ("cpu/web/payload/cpu.cfs_quota_us", "150000"),
            ("cpu/web/payload/cpu.cfs_period_us", "100000"),
            ("cpu/web/cpu.cfs_quota_us", "-1"),
            ("cpu/web/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(told(&old), Limits { memory: Some(300), cores: Some(2) });
        let new = [
            ("memory/web/payload/memory.max", "max"),
            ("memory/web/memory.max", "536870912"),
            ("cpu/web/payload/cpu.max", "100000 100000"),
            ("cpu/web/cpu.max", "max 100000"),
        ];
        assert_eq!(told(&new), Limits { memory: Some(512), cores: Some(1) });
        assert_eq!(told(&[("memory/web/memory.max", "max"), ("cpu/web/cpu.max", "max 100000")]), Limits::default());
        assert_eq!(told(&[]), Limits::default());
    }
}
