//! A build instance's writing becomes a layer.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2, syncfs};

use super::image::make_private_folder;
use super::record::{absent_is_fine, folder_entries, io_error};
use crate::provider::ProviderError;

/// Keeps the folder `written` of a halted build instance as the layer `layer`.
pub async fn keep_layer(written: PathBuf, layer: PathBuf) -> Result<(), ProviderError> {
    let told = layer.clone();
    let work = tokio::task::spawn_blocking(move || {
        make_private_folder(layer.parent().unwrap_or(&layer))?;
        strip_layer(&written)?;
        // A build instance writes without care for a crash; a layer that has its name must be whole.
        let folder = std::fs::File::open(&written).map_err(|e| io_error("open", &written, e))?;
        syncfs(&folder).map_err(|e| io_error("sync", &written, e.into()))?;
        match std::fs::rename(&written, &layer) {
            // Another environment was faster; the content is the same.
            Err(_) if layer.is_dir() => Ok(()),
            other => other.map_err(|e| io_error("keep", &layer, e)),
        }
    });
    work.await.map_err(|e| io_error("keep", &told, std::io::Error::other(e)))?
}

/// Removes from a build instance's writing what belongs to that instance and not to the layer.
fn strip_layer(upper: &Path) -> Result<(), ProviderError> {
    let own = ["etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/machine-id", "var/lib/systemd/random-seed"];
    for path in own {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some(folder) = open_inside(upper, parent)? {
            remove_entry(&through(&folder).join(name))?;
        }
    }
    for path in ["run", "tmp", "var/tmp", "var/log/journal"] {
        let Some(folder) = open_inside(upper, path)? else { continue };
        for entry in folder_entries(&through(&folder))? {
            remove_entry(&through(&folder).join(entry))?;
        }
    }
    Ok(())
}

/// Removes a file, a link or a whole folder, following no link at its end.
pub fn remove_entry(path: &Path) -> Result<(), ProviderError> {
    let is_folder = std::fs::symlink_metadata(path).is_ok_and(|data| data.is_dir());
    let removed = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    absent_is_fine(removed).map_err(|e| io_error("remove", path, e))
}

/// Opens a folder below `base` following no symlink: what a charm wrote must not lead out of its layer.
pub fn open_inside(base: &Path, path: &str) -> Result<Option<OwnedFd>, ProviderError> {
    let base_folder = std::fs::File::open(base).map_err(|e| io_error("open", base, e))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(&base_folder, path, flags, Mode::empty(), resolve) {
        Ok(folder) => Ok(Some(folder)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(None),
        Err(error) => Err(io_error("open", &base.join(path), error.into())),
    }
}

pub fn through(folder: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}
