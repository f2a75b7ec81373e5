//! What virtual machines have on disk: kernels, base disks, and of each machine what it wrote.
//!
//! ```text
//! boot/<image>/               kernel and first program, as QEMU is given them
//! base/<image>-<layers>.raw   a file system with image and layers, which nobody writes to
//! templates/                  see [`super::template`]
//! machines/<name>/            a disk over a base disk, holding what is different
//! ```
//!
//! It lies where libvirt lets QEMU's own user reach it; images and layers themselves stay closed to all but root.
//!
//! **Invariant:** what bears its final name is whole: it is made under another, synced and renamed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::provider::ProviderError;
use crate::provider::command::{replace_file, run};
use crate::provider::local::image::{lock_file, remove_tree};
use crate::provider::local::record::{InstanceRecord, absent_is_fine, io_error};
use crate::provider::local::{LocalSettings, digest_hex, guest};

/// What a machine may fill. Only what is written takes room.
pub const DISK_SIZE: u64 = 8 << 30;

/// An overlay in a mount namespace that ends with the tools, made a file system of. The inode tables are written now: they
/// are holes in the file, and no machine need write them later.
const FILL: &str = r#"
if [ -n "$1" ]; then
  mount -t overlay -o "ro,redirect_dir=follow,metacopy=off,index=off,lowerdir=$1" encanto "$2"
fi &&
exec mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 -d "$2" -F "$3""#;

/// The mark of a machine that is being woken.
const WAKING: &str = "waking";

/// The mark of a machine that was never begun.
const UNBEGUN: &str = "unbegun";

/// The folders of all virtual machines.
#[derive(Clone, Debug)]
pub struct Disks {
    settings: LocalSettings,
}

/// The files that a machine is booted with.
#[derive(Clone, Debug)]
pub struct Boot {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

impl Disks {
    pub fn new(settings: LocalSettings) -> Self {
        Self { settings }
    }

    pub fn place(&self, name: &str) -> PathBuf {
        self.settings.disk_dir.join(name)
    }

    pub fn machines(&self) -> PathBuf {
        self.place("machines")
    }

    pub fn machine(&self, label: &str) -> MachineDisk {
        MachineDisk { folder: self.machines().join(label) }
    }

    /// Kernel and first program of an image, copied to where QEMU can read them.
    pub async fn boot(&self, image: &str) -> Result<Boot, ProviderError> {
        let folder = self.place("boot").join(image);
        let boot = Boot { kernel: folder.join("kernel"), initrd: folder.join("initrd") };
        if folder.is_dir() {
            return Ok(boot);
        }
        let tree = self.settings.images().join(image);
        blocking(&folder, move |folder| {
            let begun = open_folder(folder.parent().unwrap_or(folder))?.join(begun_name(folder));
            remove_tree(&begun)?;
            open_folder(&begun)?;
            for (from, name) in [(guest::KERNEL, "kernel"), (guest::INITRD, "initrd")] {
                let (from, to) = (tree.join(from), begun.join(name));
                std::fs::copy(&from, &to).map_err(|e| io_error("copy", &from, e))?;
                sync(&to)?;
            }
            match std::fs::rename(&begun, folder) {
                // Another controller was faster.
                Err(_) if folder.is_dir() => remove_tree(&begun),
                other => other.map_err(|e| io_error("rename", &begun, e)),
            }
        })
        .await?;
        Ok(boot)
    }

    /// The disk that holds image and layers, made now if nobody wanted it before.
    pub async fn base(&self, record: &InstanceRecord) -> Result<PathBuf, ProviderError> {
        let done = self.place("base").join(base_name(record));
        if done.exists() {
            return Ok(done);
        }
        let locked = done.clone();
        // Kept until the end of this function; a crash releases it.
        let _lock = blocking(&done, move |_| {
            let folder = open_folder(locked.parent().unwrap_or(&locked))?;
            lock_file(&folder.join(format!(".{}.lock", base_name_of(&locked))))
        })
        .await?;
        if done.exists() {
            return Ok(done);
        }
        let begun = done.with_file_name(begun_name(&done));
        let stage = begun.with_extension("stage");
        let hollow = begun.clone();
        let mount_point = stage.clone();
        blocking(&begun, move |begun| {
            let file = std::fs::File::create(begun).map_err(|e| io_error("create", begun, e))?;
            file.set_len(DISK_SIZE).map_err(|e| io_error("create", begun, e))?;
            std::fs::create_dir_all(&mount_point).map_err(|e| io_error("create", &mount_point, e))
        })
        .await?;
        self.fill(record, &stage, &hollow).await?;
        blocking(&done, move |done| {
            sync(&hollow)?;
            std::fs::rename(&hollow, done).map_err(|e| io_error("rename", &hollow, e))?;
            absent_is_fine(std::fs::remove_dir(&stage)).map_err(|e| io_error("remove", &stage, e))
        })
        .await?;
        Ok(done)
    }

    async fn fill(&self, record: &InstanceRecord, stage: &Path, disk: &Path) -> Result<(), ProviderError> {
        let image = self.settings.images().join(&record.image);
        let layers: Vec<PathBuf> = record.layers.iter().map(|key| self.settings.layers().join(key)).collect();
        // An overlay of one layer is refused, and not needed.
        let (lowers, tree) = if layers.is_empty() {
            (String::new(), image.clone())
        } else {
            let topmost_first = layers.iter().rev().chain([&image]).map(|layer| escape_lower(layer));
            (topmost_first.collect::<Vec<_>>().join(":"), stage.to_owned())
        };
        let (tree, disk) = (tree.display().to_string(), disk.display().to_string());
        let argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", FILL, "sh", &lowers, &tree, &disk];
        run(&argv, b"").await.map(drop)
    }
}

/// The files of one machine.
#[derive(Clone, Debug)]
pub struct MachineDisk {
    folder: PathBuf,
}

impl MachineDisk {
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk.qcow2")
    }

    pub fn console_log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Through which a template's memory comes.
    pub fn memory(&self) -> PathBuf {
        self.folder.join("memory")
    }

    /// Makes the folder anew.
    pub fn clear(&self) -> Result<(), ProviderError> {
        remove_tree(&self.folder)?;
        open_folder(&self.folder).map(drop)
    }

    pub fn remove(&self) -> Result<(), ProviderError> {
        remove_tree(&self.folder)
    }

    /// Marks the machine as never begun, and names the template whose memory fits its disk.
    pub fn mark_unbegun(&self, template: Option<&str>) -> Result<(), ProviderError> {
        replace_file(&self.folder.join(UNBEGUN), template.unwrap_or_default().as_bytes())
    }

    /// Takes the mark away: once a machine may have written anything, no template's memory fits it any more.
    pub fn take_mark(&self) -> Result<Option<Mark>, ProviderError> {
        let path = self.folder.join(UNBEGUN);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        std::fs::remove_file(&path).map_err(|e| io_error("remove", &path, e))?;
        Ok(Some(if text.is_empty() { Mark::Plain } else { Mark::Template(text) }))
    }

    /// Notes that the machine is between a template's life and its own.
    pub fn begin_waking(&self) -> Result<(), ProviderError> {
        replace_file(&self.folder.join(WAKING), b"")
    }

    /// Whether it is so: then whoever woke it was killed, and it may take itself for its template.
    pub fn is_waking(&self) -> bool {
        self.folder.join(WAKING).exists()
    }

    pub fn end_waking(&self) -> Result<(), ProviderError> {
        let path = self.folder.join(WAKING);
        absent_is_fine(std::fs::remove_file(&path)).map_err(|e| io_error("remove", &path, e))
    }
}

/// What a machine stands on that was never begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    Plain,
    Template(String),
}

/// Follows from all that is on the disk.
fn base_name(record: &InstanceRecord) -> String {
    let layers = digest_hex(record.layers.join("\n").as_bytes());
    format!("{}-{}.raw", record.image, &layers[..16])
}

fn base_name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn begun_name(path: &Path) -> String {
    format!(".{}.begun", base_name_of(path))
}

/// A path as `lowerdir` takes it.
fn escape_lower(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// Makes a folder that QEMU's user can go through, and nobody else can list.
pub fn open_folder(path: &Path) -> Result<PathBuf, ProviderError> {
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o711)))
        .map_err(|e| io_error("create", path, e))?;
    Ok(path.to_owned())
}

fn sync(path: &Path) -> Result<(), ProviderError> {
    let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|e| io_error("sync", path, e))
}

/// Does what may take a while with files, away from the runtime.
pub async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, ProviderError> + Send + 'static,
) -> Result<T, ProviderError> {
    let path = path.to_owned();
    let place = path.clone();
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    done.map_err(|e| io_error("write", &place, std::io::Error::other(e)))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn record(layers: &[&str]) -> InstanceRecord {
        InstanceRecord {
            kind: "kvm".into(),
            address: Ipv4Addr::UNSPECIFIED,
            image: "bookworm-machine-12".into(),
            layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            memory: None,
            cores: None,
            build: false,
            origin: None,
        }
    }

    #[test]
    fn a_base_disk_is_named_by_all_that_is_on_it() {
        let names: std::collections::BTreeSet<String> =
            [&[][..], &["a"], &["a", "b"], &["b", "a"]].map(|layers| base_name(&record(layers))).into();
        assert_eq!(names.len(), 4);
        assert!(names.iter().all(|name| name.starts_with("bookworm-machine-12-") && name.ends_with(".raw")));
    }

    #[test]
    fn a_path_with_trouble_in_it_stays_one_layer() {
        assert_eq!(escape_lower(Path::new("/a:b,c\\d")), "/a\\:b\\,c\\\\d");
    }

    #[test]
    fn a_machine_is_begun_once() {
        let place = tempfile::tempdir().unwrap();
        let disk = MachineDisk { folder: place.path().join("m") };
        disk.clear().unwrap();
        assert_eq!(disk.take_mark().unwrap(), None);
        disk.mark_unbegun(Some("t-1")).unwrap();
        assert_eq!(disk.take_mark().unwrap(), Some(Mark::Template("t-1".into())));
        assert_eq!(disk.take_mark().unwrap(), None);
        disk.mark_unbegun(None).unwrap();
        assert_eq!(disk.take_mark().unwrap(), Some(Mark::Plain));
        disk.begin_waking().unwrap();
        assert!(disk.is_waking());
        disk.end_waking().unwrap();
        disk.end_waking().unwrap();
        assert!(!disk.is_waking());
    }
}
