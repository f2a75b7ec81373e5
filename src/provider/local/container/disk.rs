//! What a container has on disk: folders, its own writing, and the overlay that makes a root of it.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};

use super::exec::mount_root;
use crate::provider::command::replace_file;
use crate::provider::local::copies::copy;
use crate::provider::local::driver::Machine;
use crate::provider::local::helper::{HelperRequest, MountOrder, ViewOrder, is_mount_point};
use crate::provider::local::image::{make_private_folder, remove_tree};
use crate::provider::local::layer::{open_inside, remove_entry, through};
use crate::provider::local::record::{absent_is_fine, io_error};
use crate::provider::local::settings::LocalSettings;
use crate::provider::local::turn::{Turn, to_the_end};
use crate::provider::{InstanceName, Origin, ProviderError};

/// No hosts file that is worth keeping is larger.
const HOSTS_LIMIT: u64 = 1 << 20;

/// The folders of one container.
#[derive(Debug)]
pub struct Disk<'a> {
    settings: &'a LocalSettings,
    machine: &'a Machine,
    folder: PathBuf,
}

impl<'a> Disk<'a> {
    /// `home` is where the folders of all containers of its kind lie.
    pub fn new(settings: &'a LocalSettings, home: &Path, machine: &'a Machine) -> Self {
        Self { settings, machine, folder: home.join(machine.label()) }
    }

    /// Where the root is mounted.
    pub fn root(&self) -> PathBuf {
        self.folder.join("rootfs")
    }

    /// The container's configuration: that it is there says that all else is.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// Where the machine's own writing goes. A build instance's lies beside the layers, because sealing renames it.
    fn scratch(&self, build: bool) -> PathBuf {
        if build {
            self.settings.cache_dir.join("scratch").join(self.machine.name.as_str())
        } else {
            self.folder.join("overlay")
        }
    }

    /// The machine's own writing.
    pub fn upper(&self) -> PathBuf {
        self.scratch(self.machine.record.build).join("upper")
    }

    /// Somebody's folder that is the root, as it is.
    fn adopted(&self) -> Option<&Path> {
        match &self.machine.record.origin {
            Some(Origin::Folder(folder)) => Some(folder),
            Some(Origin::Named(_)) | None => None,
        }
    }

    /// Whether everything was put on disk. One whose own writing was deleted by hand is none any more.
    pub fn is_whole(&self) -> bool {
        let own = self.adopted().map_or_else(|| self.upper(), Path::to_owned);
        self.configuration().exists() && own.exists()
    }

    /// Puts everything on disk, with a copy of another's writing if `seed` names it.
    pub async fn make(&self, seed: Option<&Path>) -> Result<(), ProviderError> {
        if self.is_whole() {
            return Ok(());
        }
        self.remove().await?;
        let folder = &self.folder;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(folder)
            .map_err(|e| io_error("create", folder, e))?;
        if self.adopted().is_some() {
            std::fs::create_dir(self.root()).map_err(|e| io_error("create", &self.root(), e))?;
            return replace_file(&self.configuration(), b"");
        }
        let scratch = self.scratch(self.machine.record.build);
        // Set-id files of the machine lie in there with the real root as owner.
        make_private_folder(&scratch)?;
        let upper = self.upper();
        if let Some(seed) = seed {
            copy(seed, &upper).await?;
        }
        for part in [&self.root(), &upper, &scratch.join("work")] {
            std::fs::create_dir_all(part).map_err(|e| io_error("create", part, e))?;
        }
        personalise(&upper, self.machine)?;
        replace_file(&self.configuration(), b"")
    }

    /// Puts the root together unless it is mounted.
    pub async fn mount(&self, first_id: Option<u32>, turn: &Turn) -> Result<(), ProviderError> {
        let (target, record) = (self.root(), &self.machine.record);
        if is_mounted(&target)? {
            return Ok(());
        }
        let helper = self.settings.helper.clone();
        if let Some(source) = self.adopted() {
            let order = ViewOrder { target: target.clone(), source: source.to_owned(), first_id };
            return to_the_end(turn, async move { mount_root(&helper, target, HelperRequest::View(order)).await })
                .await;
        }
        let scratch = self.scratch(record.build);
        let work = scratch.join("work");
        if record.build {
            // After an unclean end `volatile` leaves a mark here and refuses; a build may be that careless.
            remove_tree(&work)?;
        }
        // The mount point too may have been deleted by hand; nothing of the machine was in it.
        for folder in [&work, &target] {
            std::fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
        }
        let mut lowers = vec![self.settings.images().join(&record.image)];
        lowers.extend(record.layers.iter().map(|key| self.settings.layers().join(key)));
        let order = MountOrder { target: target.clone(), lowers, scratch, first_id, volatile: record.build };
        to_the_end(turn, async move { mount_root(&helper, target, HelperRequest::Mount(order)).await }).await
    }

    /// Whether somebody deleted all that is in the root: `lxc-destroy` does, and stops at the mount point. Asked of a
    /// root that is mounted.
    pub fn is_emptied(&self) -> Result<bool, ProviderError> {
        let root = self.root();
        for folder in ["etc", "usr"] {
            match std::fs::symlink_metadata(root.join(folder)) {
                Ok(_) => return Ok(false),
                other => absent_is_fine(other.map(drop)).map_err(|e| io_error("stat", &root.join(folder), e))?,
            }
        }
        Ok(true)
    }

    pub fn unmount(&self) -> Result<(), ProviderError> {
        unmount_all(&self.root())
    }

    /// Removes all of it.
    pub async fn remove(&self) -> Result<(), ProviderError> {
        let (root, folder) = (self.root(), self.folder.clone());
        let locked = [self.scratch(true), self.scratch(false), self.folder.clone()];
        let is_somebodys = self.adopted().is_some();
        let removal = tokio::task::spawn_blocking(move || {
            // The helper of a controller that was killed may still be about to mount.
            let _locked: Vec<OwnedFd> = locked.iter().filter_map(|folder| lock_folder(folder)).collect();
            unmount_all(&root)?;
            if is_somebodys {
                // Not with all that is in it, should it be somebody's folder in spite of all.
                absent_is_fine(std::fs::remove_dir(&root)).map_err(|e| io_error("remove", &root, e))?;
            }
            remove_tree(&locked[0])?;
            remove_tree(&folder)
        });
        removal.await.map_err(|e| io_error("remove", &self.folder, std::io::Error::other(e)))?
    }
}

/// Waits for whoever mounts what lies in a folder; `None` if it is not there.
fn lock_folder(folder: &Path) -> Option<OwnedFd> {
    let opened: OwnedFd = std::fs::File::open(folder).ok()?.into();
    flock(&opened, FlockOperation::LockExclusive).ok()?;
    Some(opened)
}

/// Writes who the machine is into its writing, and removes who another was that this is a copy of.
fn personalise(upper: &Path, machine: &Machine) -> Result<(), ProviderError> {
    for path in ["etc/machine-id", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed"] {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some(folder) = open_inside(upper, parent)? {
            remove_entry(&through(&folder).join(name))?;
        }
    }
    let etc = match open_inside(upper, "etc")? {
        Some(folder) => folder,
        None => {
            let path = upper.join("etc");
            remove_entry(&path)?;
            std::fs::create_dir(&path).map_err(|e| io_error("create", &path, e))?;
            std::fs::File::open(&path).map_err(|e| io_error("open", &path, e))?.into()
        }
    };
    let etc = through(&etc);
    let earlier = own_text(&etc.join("hostname"))?;
    let hosts = render_hosts(&own_text(&etc.join("hosts"))?, earlier.trim(), (&machine.name, machine.wiring.address));
    for (file, text) in [
        ("hostname", format!("{}\n", machine.name)),
        ("hosts", hosts),
        ("resolv.conf", format!("nameserver {}\n", machine.wiring.gateway)),
    ] {
        let path = etc.join(file);
        // It may be a link that leads anywhere.
        remove_entry(&path)?;
        std::fs::write(&path, text).map_err(|e| io_error("write", &path, e))?;
    }
    Ok(())
}

/// What a file says; nothing if it is none, too large or no text.
fn own_text(path: &Path) -> Result<String, ProviderError> {
    match std::fs::symlink_metadata(path) {
        Ok(data) if data.is_file() && data.len() <= HOSTS_LIMIT => {
            let text = std::fs::read(path).map_err(|e| io_error("read", path, e))?;
            Ok(String::from_utf8(text).unwrap_or_default())
        }
        other => absent_is_fine(other.map(drop)).map(|()| String::new()).map_err(|e| io_error("read", path, e)),
    }
}

/// A machine's hosts file: what stood in it, but for the machine that it was before.
fn render_hosts(before: &str, earlier: &str, (name, address): (&InstanceName, Ipv4Addr)) -> String {
    let own = format!("{address} {name}\n");
    if before.is_empty() {
        return format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{own}");
    }
    let others = before
        .lines()
        .filter(|line| !line.split_whitespace().skip(1).any(|word| word == earlier && word != "localhost"));
    others.map(|line| format!("{line}\n")).chain([own]).collect()
}

fn is_mounted(target: &Path) -> Result<bool, ProviderError> {
    match is_mount_point(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        other => other.map_err(|e| io_error("stat", target, e)),
    }
}

fn unmount_all(target: &Path) -> Result<(), ProviderError> {
    while is_mounted(target)? {
        unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|e| io_error("unmount", target, e.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_forgets_who_it_was_and_keeps_what_else_it_knew() {
        let name = InstanceName::new("ana-local-machine-2").unwrap();
        let own = (&name, Ipv4Addr::new(10, 160, 0, 3));
        let fresh = render_hosts("", "", own);
        assert!(fresh.starts_with("127.0.0.1 localhost\n") && fresh.ends_with("10.160.0.3 ana-local-machine-2\n"));
        let before = "127.0.0.1 localhost\n10.160.0.2 ana-local-machine-1\n10.9.9.9 printer\n";
        let copied = render_hosts(before, "ana-local-machine-1", own);
        assert_eq!(copied, "127.0.0.1 localhost\n10.9.9.9 printer\n10.160.0.3 ana-local-machine-2\n");
    }
}
