//! Copies of what instances wrote: clones and snapshots, for every kind alike.
//!
//! A driver says where an instance's writing is ([`Driver::data`]); its snapshots lie beside it, on the same file system,
//! so that one that can shares their blocks. A machine that runs stands still while it is copied. That is undone also
//! when whoever asked for it gave up, and by the next controller when this one was killed: a mark in the state folder
//! says so.
//!
//! **Invariant:** a snapshot is one when its description is there, which is written last. What is none is removed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use super::driver::{Driver, Machine};
use super::image::{make_private_folder, remove_tree};
use super::layer::remove_entry;
use super::record::{InstanceRecord, absent_is_fine, folder_entries, io_error, load_json, store_json};
use super::turn::{Turn, to_the_end};
use super::{LocalProvider, described};
use crate::provider::command::run_telling;
use crate::provider::{Instance, InstanceName, InstanceSpec, ProviderError, Snapshot};

/// Copies a file or a folder with all that it has: owners, modes, times, attributes, devices, hard links and holes. What
/// is at `to` is replaced.
///
/// # Errors
/// In the words of `cp`; a part of the copy may be there then.
pub async fn copy(from: &Path, to: &Path) -> Result<(), ProviderError> {
    let place = to.to_owned();
    let cleared = tokio::task::spawn_blocking(move || remove_entry(&place)).await;
    cleared.map_err(|e| io_error("remove", to, std::io::Error::other(e)))??;
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    // It ends with the controller, else it would write on into what the next one does. `-T`: a folder that came there
    // meanwhile is an error, and not copied into.
    let dying = ["setpriv", "--pdeathsig", "KILL"];
    let argv = [&dying[..], &["cp", "-aT", "--reflink=auto", "--sparse=always", "--", &from, &to]].concat();
    run_telling(&argv, b"", |_| {}).await
}

/// Where the snapshots of an instance with this writing lie.
pub fn shelf(data: &Path) -> PathBuf {
    beside(data, "snapshots")
}

fn beside(data: &Path, what: &str) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    data.with_file_name(name)
}

/// One snapshot on its shelf.
struct Kept(PathBuf);

impl Kept {
    fn on(shelf: &Path, name: &str) -> Self {
        Self(shelf.join(name))
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn description(&self) -> PathBuf {
        self.0.join("snapshot.json")
    }

    fn read(&self) -> Result<Option<Snapshot>, ProviderError> {
        load_json(&self.description())
    }

    /// Once nothing describes it, it is none, however much of it is left.
    async fn remove(&self) -> Result<(), ProviderError> {
        let (folder, description) = (self.0.clone(), self.description());
        blocking(&self.0, move || {
            let removed = absent_is_fine(std::fs::remove_file(&description));
            removed.map_err(|e| io_error("remove", &description, e))?;
            remove_tree(&folder)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, ProviderError> + Send + 'static,
) -> Result<T, ProviderError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| io_error("work on", path, std::io::Error::other(e)))?
}

/// Writes everything out to the disk that `path` is on.
fn sync(path: &Path) -> Result<(), ProviderError> {
    let opened = std::fs::File::open(path).map_err(|e| io_error("open", path, e))?;
    syncfs(&opened).map_err(|e| io_error("sync", path, e.into()))
}

/// Bytes on disk of a file or a tree; a file with several names counts for each.
fn size_on_disk(path: &Path) -> Result<u64, ProviderError> {
    let mut bytes = 0;
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let data = std::fs::symlink_metadata(&path).map_err(|e| io_error("look at", &path, e))?;
        bytes += data.blocks() * 512;
        if data.is_dir() {
            let entries = std::fs::read_dir(&path).map_err(|e| io_error("read", &path, e))?;
            pending.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
        }
    }
    Ok(bytes)
}

/// When a snapshot is taken is of no consequence to anything that happens.
fn now() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "the hypervisor's clock, which its callers do not know")]
    jiff::Timestamp::now().as_millisecond()
}

/// Nothing is put beside what is somebody's, and nothing in its place.
fn has_own_disk(machine: &Machine) -> Result<(), ProviderError> {
    match machine.record.origin {
        Some(_) => Err(ProviderError::Unsupported { action: "snapshot", name: machine.name.clone() }),
        None => Ok(()),
    }
}

impl LocalProvider {
    pub(super) async fn clone_to(&self, from: &InstanceName, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        let network = self.opened_network()?;
        if *from == spec.name {
            return Err(ProviderError::Unsupported {
                action: "copy of a machine in its own place",
                name: from.clone(),
            });
        }
        // By name: two clones of each other must not wait for each other.
        let (first, second) = if *from < spec.name { (from, &spec.name) } else { (&spec.name, from) };
        let turns = (self.turn(first).await, self.turn(second).await);
        let source = self.record(from)?;
        if source.origin.is_some() || source.build {
            return Err(ProviderError::Unsupported { action: "clone", name: from.clone() });
        }
        // It stands on what the other stands on, whatever is current by now.
        let InstanceSpec { memory, cores, .. } = *spec;
        self.enrol_new(&spec.name, InstanceRecord { memory, cores, ..source }, &network).await?;
        self.tell_names().await?;
        let (driver, machine) = self.reach(&spec.name).await?;
        if !driver.is_made(&machine).await? {
            let (_, original) = self.reach(from).await?;
            self.end_pause(driver, &original).await?;
            let seed = driver.data(&original);
            let (making, made) = (driver.clone(), machine.clone());
            let copying = async move { making.make(&made, Some(&seed)).await };
            self.while_still(driver, &original, turns.clone(), copying).await?;
        }
        let turn = if *from < spec.name { &turns.1 } else { &turns.0 };
        driver.begin(&machine, turn).await?;
        described(driver, &machine).await
    }

    pub(super) async fn take_snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<Snapshot, ProviderError> {
        InstanceName::new(snapshot)?;
        let (turn, driver, machine) = self.hold(name).await?;
        has_own_disk(&machine)?;
        let data = driver.data(&machine);
        let kept = Kept::on(&shelf(&data), snapshot);
        if let Some(known) = kept.read()? {
            return Ok(known);
        }
        if !driver.is_made(&machine).await? {
            return Err(ProviderError::NoInstance(name.clone()));
        }
        kept.remove().await?;
        make_private_folder(&kept.0)?;
        let taken = now();
        let (from, to) = (data, kept.data());
        let copying = async move { copy(&from, &to).await };
        if let Err(error) = self.while_still(driver, &machine, (turn.clone(), turn.clone()), copying).await {
            kept.remove().await?;
            return Err(error);
        }
        let to = kept.data();
        let size = blocking(&kept.0, move || sync(to.parent().unwrap_or(&to)).and_then(|()| size_on_disk(&to))).await?;
        let snapshot = Snapshot { name: snapshot.into(), taken, size };
        store_json(&kept.description(), &snapshot)?;
        Ok(snapshot)
    }

    pub(super) async fn restore_snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        InstanceName::new(snapshot)?;
        let (turn, driver, machine) = self.hold(name).await?;
        has_own_disk(&machine)?;
        let data = driver.data(&machine);
        let kept = Kept::on(&shelf(&data), snapshot);
        if kept.read()?.is_none() {
            return Err(ProviderError::NoSnapshot { name: name.clone(), snapshot: snapshot.into() });
        }
        let ran = driver.running().await?.contains(machine.label());
        // Copied before the machine is stopped, so that it is away for as short as can be.
        let fresh = beside(&data, "restored");
        let (from, to) = (kept.data(), fresh.clone());
        to_the_end(&turn, async move { copy(&from, &to).await }).await?;
        let synced = fresh.clone();
        blocking(&fresh, move || sync(&synced)).await?;
        driver.halt(&machine).await?;
        exchange(&fresh, &data)?;
        let removed = fresh.clone();
        blocking(&fresh, move || remove_entry(&removed)).await?;
        if ran {
            driver.begin(&machine, &turn).await?;
            self.services_up(driver, &machine).await;
        }
        Ok(())
    }

    pub(super) async fn remove_snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        InstanceName::new(snapshot)?;
        let (_turn, driver, machine) = self.hold(name).await?;
        has_own_disk(&machine)?;
        Kept::on(&shelf(&driver.data(&machine)), snapshot).remove().await
    }

    pub(super) async fn list_snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>, ProviderError> {
        let machine = self.machine(name)?;
        has_own_disk(&machine)?;
        let driver = self.drivers.of(Some(&machine.record.kind))?;
        let shelf = shelf(&driver.data(&machine));
        let mut found = Vec::new();
        for entry in folder_entries(&shelf)? {
            found.extend(Kept::on(&shelf, &entry).read()?);
        }
        found.sort_by(|a, b| (a.taken, &a.name).cmp(&(b.taken, &b.name)));
        Ok(found)
    }

    /// Copies while the machine stands still, if it runs. It goes on whatever becomes of the copy and of the caller; who
    /// comes next waits for that.
    async fn while_still(
        &self,
        driver: &Arc<dyn Driver>,
        machine: &Machine,
        turns: (Turn, Turn),
        copying: impl Future<Output = Result<(), ProviderError>> + Send + 'static,
    ) -> Result<(), ProviderError> {
        if !driver.running().await?.contains(machine.label()) {
            return to_the_end(&turns.0.clone(), async move { copying.await.inspect(|()| drop(turns)) }).await;
        }
        let (driver, machine, mark) = (driver.clone(), machine.clone(), self.pause_mark(&machine.name));
        let work = async move {
            store_json(&mark, &machine.name)?;
            let copied = match driver.pause(&machine).await {
                Ok(()) => copying.await,
                Err(error) => Err(error),
            };
            driver.resume(&machine).await?;
            remove_entry(&mark)?;
            drop(turns.1);
            copied
        };
        to_the_end(&turns.0, work).await
    }

    fn pause_mark(&self, name: &InstanceName) -> PathBuf {
        self.settings.state("paused").join(format!("{name}.json"))
    }

    /// Lets a machine go on that a controller paused and could not resume. The caller has its turn.
    pub(super) async fn end_pause(&self, driver: &Arc<dyn Driver>, machine: &Machine) -> Result<(), ProviderError> {
        let mark = self.pause_mark(&machine.name);
        if mark.exists() {
            driver.resume(machine).await?;
            remove_entry(&mark)?;
        }
        Ok(())
    }

    /// Undoes what a controller that was killed left half done.
    pub(super) async fn clear_up_copies(&self) {
        for name in self.names() {
            if let Err(error) = self.clear_up_copies_of(&name).await {
                tracing::warn!("what was left of a copy of {name} cannot be cleared up: {error}");
            }
        }
    }

    async fn clear_up_copies_of(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let machine = self.machine(name)?;
        let data = self.drivers.of(Some(&machine.record.kind))?.data(&machine);
        let (shelf, restored) = (shelf(&data), beside(&data, "restored"));
        if !self.pause_mark(name).exists() && !shelf.exists() && !restored.exists() {
            return Ok(());
        }
        let _held = self.hold(name).await?;
        remove_entry(&restored)?;
        for entry in folder_entries(&shelf)? {
            let kept = Kept::on(&shelf, &entry);
            if kept.read()?.is_none() {
                kept.remove().await?;
            }
        }
        Ok(())
    }
}

/// Swaps two files or folders in one step.
fn exchange(one: &Path, other: &Path) -> Result<(), ProviderError> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|e| io_error("exchange", other, e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[tokio::test]
    async fn a_copy_keeps_what_files_are_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("-from"), folder.path().join("to"));
        std::fs::create_dir_all(from.join("etc")).unwrap();
        std::fs::write(from.join("etc/key"), "secret").unwrap();
        std::fs::set_permissions(from.join("etc/key"), std::fs::Permissions::from_mode(0o4750)).unwrap();
        std::fs::hard_link(from.join("etc/key"), from.join("same")).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        std::fs::File::create(from.join("holes")).unwrap().set_len(1 << 30).unwrap();
        std::fs::create_dir_all(to.join("left")).unwrap();
        copy(&from, &to).await.unwrap();
        let data = |name: &str| std::fs::symlink_metadata(to.join(name)).unwrap();
        assert_eq!((data("etc/key").mode() & 0o7777, data("same").ino()), (0o4750, data("etc/key").ino()));
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/nowhere"));
        assert!(data("holes").len() == 1 << 30 && data("holes").blocks() < 2048, "holes stay holes");
        assert!(!to.join("left").exists() && size_on_disk(&to).unwrap() < 1 << 20);
        assert!(copy(&folder.path().join("none"), &to).await.is_err());
    }
}
