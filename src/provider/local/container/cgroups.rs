//! A container's cgroups: held still by the kernel's freezer, and removed.
//!
//! The freezer's file is written directly: the tools of the hypervisors look for the result a second later.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    fn find(init: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
        let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let folders = payload_folders(&text, pure);
        // What is frozen by the new kind can still be killed.
        let new = folders.iter().find(|folder| folder.join("cgroup.freeze").exists());
        let old = || folders.iter().find(|folder| folder.join("freezer.state").exists());
        new.cloned().map(Self::New).or_else(|| old().cloned().map(Self::Old))
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
    let freezer = Freezer::find(init).ok_or_else(unsupported)?;
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

/// Lets everything go on; nothing if it does.
pub fn thaw(init: i32) -> Result<(), ProviderError> {
    Freezer::find(init).map_or(Ok(()), |freezer| freezer.set(false))
}

/// Removes this top group from every hierarchy. Best effort: an empty group costs nothing.
pub fn remove_groups(name: &str) {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = folder_entries(base).unwrap_or_default().into_iter().map(|entry| base.join(entry));
    for hierarchy in std::iter::once(base.to_owned()).chain(hierarchies) {
        remove_group(&hierarchy.join(name));
    }
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
