//! Machines that begin in the middle of their life.
//!
//! An emulated machine takes six seconds until it answers, and ten until it is quiet. So one of each shape (base disk,
//! memory, cores) is booted without a name, and its memory is kept when it is quiet. A new machine gets a disk over that
//! one's frozen disk and begins with its memory; then it is told who it is (`guest/wire`).
//!
//! The memory is never copied: libvirt reads it through a pipe, behind a head that defines the new machine (`saved.rs`).
//!
//! # Guarantees
//! A template is whole when its folder has its name. Its disk stays for ever, because machines stand on it; memories are
//! kept of the newest [`KEPT`]. Whatever goes wrong with one, the machine boots the usual way.
//!
//! # Limits
//! Machines of one template have the same boot id, as the kernel makes it once.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use rustix::io::Errno;

use super::agent::Agent;
use super::disks::{DISK_SIZE, MachineDisk, blocking, open_folder};
use super::domain::{DomainConfig, Shape, render_domain};
use super::domains::Domains;
use super::inner::run_inside;
use super::inside::Insides;
use super::process;
use super::qcow2::{Format, overlay};
use super::saved::{HEAD, Head};
use super::way::{LibvirtWay, Way};
use crate::provider::local::digest_hex;
use crate::provider::local::guest::WIRE;
use crate::provider::local::image::remove_tree;
use crate::provider::local::record::{absent_is_fine, folder_entries, io_error};
use crate::provider::{InstanceName, ProviderError};

/// Memories that are kept, of some 120 MB each.
const KEPT: usize = 8;

/// How long a template may take to be quiet.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// A memory is read in a second; libvirt was killed or hangs if it takes as long as this.
const RESTORE_LIMIT: Duration = Duration::from_secs(60);

/// Bytes of randomness that a machine is given.
const ENTROPY: usize = 64;

/// Who the template is for a moment: the programs that tell it are in its memory then, and run twice as fast later.
const REHEARSAL: [&str; 5] =
    ["name=template", "address=192.0.2.2/24", "gateway=192.0.2.1", "hardware=02:e4:c0:00:00:01", "id=0"];

/// The templates of this host, and the domain in which this environment makes them.
#[derive(Clone)]
pub struct Templates {
    domains: Domains,
    folder: PathBuf,
    name: InstanceName,
    /// One at a time.
    making: Arc<tokio::sync::Mutex<()>>,
}

impl Templates {
    /// `name` is that of the domain.
    pub fn new(domains: Domains, folder: PathBuf, name: InstanceName) -> Self {
        Self { domains, folder, name, making: Arc::default() }
    }

    fn definition(&self, shape: &Shape, begun: &Path) -> String {
        let (metadata, uuid) = (self.domains.owner.metadata(), self.domains.owner.uuid(&self.name));
        render_domain(&DomainConfig {
            name: self.name.as_str(),
            uuid: &uuid,
            metadata: &metadata,
            shape,
            disk: &disk(begun),
            wiring: None,
            console_log: &console_log(begun),
        })
    }

    /// What all templates of this shape on this base disk are called by. Whatever one depends on is in its definition.
    pub async fn key(&self, shape: &Shape, base: &Path) -> Result<String, ProviderError> {
        // The memory of another version of QEMU might fit or not.
        let version = self.domains.hypervisor.call(|connection| connection.get_hyp_version()).await?;
        let definition = render_domain(&DomainConfig {
            name: "",
            uuid: "",
            metadata: "",
            shape,
            disk: base,
            wiring: None,
            console_log: Path::new(""),
        });
        Ok(digest_hex(format!("{version}\n{definition}").as_bytes())[..24].to_owned())
    }

    /// The name of a template of this key, if there is one with its memory.
    pub fn find(&self, key: &str) -> Option<String> {
        let mut names = folder_entries(&self.folder).unwrap_or_default();
        names.retain(|name| name.starts_with(key) && memory(&self.folder.join(name)).exists());
        names.sort();
        names.pop()
    }

    /// The disk that machines of this template stand on.
    pub fn disk(&self, name: &str) -> PathBuf {
        disk(&self.folder.join(name))
    }

    /// Makes a template unless there is one, or somebody else on this host is at it.
    pub async fn make(&self, shape: &Shape, base: &Path) -> Result<(), ProviderError> {
        let _turn = self.making.lock().await;
        let key = self.key(shape, base).await?;
        let Some(_lock) = self.lock(&key).await? else { return Ok(()) };
        if self.find(&key).is_some() {
            return Ok(());
        }
        let begun = self.folder.join(format!(".{key}.begun"));
        let (stand, below) = (disk(&begun), base.to_owned());
        blocking(&begun, move |begun| {
            remove_tree(begun)?;
            open_folder(begun)?;
            let fresh = overlay(&below, Format::Raw, DISK_SIZE);
            std::fs::write(&stand, fresh).map_err(|e| io_error("write", &stand, e))
        })
        .await?;
        self.domains.destroy(&self.name).await?;
        self.domains.start_transient(&self.name, self.definition(shape, &begun)).await?;
        let kept = self.keep(&begun).await;
        self.clear_up().await?;
        kept?;
        self.name_it(&begun, &key).await
    }

    /// Waits until the template is quiet, and keeps its memory.
    async fn keep(&self, begun: &Path) -> Result<(), ProviderError> {
        let way: Arc<dyn Way> = Arc::new(self.way());
        let agent = Agent::new(way.as_ref());
        agent.wait(BOOT_LIMIT).await?;
        // Whether a service failed is for its machines to tell.
        drop(run_inside(&agent, &["/bin/systemctl", "is-system-running", "--wait"], b"").await);
        // That the services are up does not say that all modules are loaded.
        run_inside(&agent, &["/bin/udevadm", "settle"], b"").await?;
        let (words, entropy) = wake_up(REHEARSAL.map(str::to_owned).to_vec());
        run_inside(&agent, &words, &entropy).await?;
        // Once for the same reason: what the helper is made of need not be read from the disk any more.
        Insides::default().of(way.clone()).prepare().await?;
        run_inside(&agent, &["/bin/sync"], b"").await?;
        self.domains.save(&self.name, &memory(begun)).await
    }

    /// The number keeps it apart from an earlier one, whose disk may be in use though its memory was given up.
    async fn name_it(&self, begun: &Path, key: &str) -> Result<(), ProviderError> {
        let done = self.folder.join(format!("{key}-{}", since_1970().as_secs()));
        let folder = self.folder.clone();
        blocking(begun, move |begun| {
            let disk = disk(begun);
            let synced = File::open(&disk).and_then(|file| file.sync_all());
            synced.map_err(|e| io_error("sync", &disk, e))?;
            absent_is_fine(std::fs::remove_file(console_log(begun))).map_err(|e| io_error("remove", begun, e))?;
            std::fs::rename(begun, &done).map_err(|e| io_error("rename", begun, e))?;
            forget_old(&folder)
        })
        .await
    }

    /// `None` if somebody else has it. A crash releases it.
    async fn lock(&self, key: &str) -> Result<Option<File>, ProviderError> {
        let path = self.folder.join(format!(".{key}.lock"));
        blocking(&path, |path| {
            open_folder(path.parent().unwrap_or(path))?;
            let file = File::create(path).map_err(|e| io_error("create", path, e))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(file)),
                Err(Errno::WOULDBLOCK) => Ok(None),
                Err(error) => Err(io_error("lock", path, error.into())),
            }
        })
        .await
    }

    fn way(&self) -> LibvirtWay {
        self.domains.way(self.name.clone())
    }

    /// Begins a defined machine with a template's memory. It takes itself for the template then.
    pub async fn restore(&self, name: &InstanceName, template: &str, files: &MachineDisk) -> Result<(), ProviderError> {
        let definition = self.domains.definition(name).await?;
        let (memory, pipe) = (memory(&self.folder.join(template)), files.memory());
        let (mut source, head) = blocking(&memory, move |memory| open_memory(memory, &definition)).await?;
        blocking(&pipe, make_pipe).await?;
        let fed = pipe.clone();
        let feeder = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            let mut pipe = OpenOptions::new().write(true).open(&fed)?;
            pipe.write_all(&head)?;
            std::io::copy(&mut source, &mut pipe).map(drop)
        });
        let restored = tokio::time::timeout(RESTORE_LIMIT, self.domains.restore(&pipe)).await;
        release(&pipe);
        let fed = feeder.await;
        absent_is_fine(std::fs::remove_file(&pipe)).map_err(|e| io_error("remove", &pipe, e))?;
        match restored {
            Ok(restored) => {
                tracing::debug!("the memory of {template} was given to {name}: {fed:?}");
                restored
            }
            Err(_) => Err(ProviderError::NotReady {
                name: name.clone(),
                seconds: RESTORE_LIMIT.as_secs(),
                output: "libvirt does not take its memory".into(),
            }),
        }
    }

    /// Gives the memory of a template up that did not fit.
    pub fn spoil(&self, template: &str) {
        let path = memory(&self.folder.join(template));
        if let Err(error) = absent_is_fine(std::fs::remove_file(&path)) {
            tracing::warn!("the memory {} cannot be removed: {error}", path.display());
        }
    }

    /// Ends the domain of a template that was being made.
    pub async fn clear_up(&self) -> Result<(), ProviderError> {
        self.domains.destroy(&self.name).await?;
        process::remove_logs(self.name.as_str());
        Ok(())
    }
}

/// Random bytes and words that make a woken machine itself.
pub fn wake_up(identity: Vec<String>) -> (Vec<String>, [u8; ENTROPY]) {
    let now = since_1970();
    let time = format!("time={}.{:09}", now.as_secs(), now.subsec_nanos());
    let words = [WIRE.to_owned(), "wake".to_owned()].into_iter().chain(identity).chain([time]);
    (words.collect(), rand::random())
}

#[allow(clippy::disallowed_methods, reason = "the host's clock, which its machines shall have too")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn disk(template: &Path) -> PathBuf {
    template.join("disk.qcow2")
}

fn memory(template: &Path) -> PathBuf {
    template.join("memory")
}

fn console_log(template: &Path) -> PathBuf {
    template.join("console.log")
}

/// The memory itself, and what is to be read in front of it.
fn open_memory(path: &Path, definition: &str) -> Result<(File, Vec<u8>), ProviderError> {
    let read = |error| io_error("read", path, error);
    let mut file = File::open(path).map_err(read)?;
    let mut fixed = [0; HEAD];
    file.read_exact(&mut fixed).map_err(read)?;
    let nonsense = || std::io::Error::other("this is no machine that libvirt saved");
    let head = Head::decode(fixed).ok_or_else(nonsense).map_err(read)?;
    let mut between = vec![0; head.length()];
    file.read_exact(&mut between).map_err(read)?;
    Ok((file, head.of_machine(&between, definition)))
}

fn make_pipe(path: &Path) -> Result<(), ProviderError> {
    absent_is_fine(std::fs::remove_file(path)).map_err(|e| io_error("remove", path, e))?;
    let made = mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    made.map_err(|e| io_error("create", path, e.into()))
}

/// Lets go whoever waits at either end of a pipe that the other will not open any more.
fn release(pipe: &Path) {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    drop(OpenOptions::new().read(true).write(true).custom_flags(flags).open(pipe));
}

/// Keeps the memories of the newest templates only.
fn forget_old(folder: &Path) -> Result<(), ProviderError> {
    let made = |name: &String| name.rsplit_once('-').and_then(|(_, number)| number.parse::<u64>().ok());
    let mut names: Vec<String> = folder_entries(folder)?;
    names.retain(|name| made(name).is_some() && memory(&folder.join(name)).exists());
    names.sort_by_key(made);
    for name in names.iter().rev().skip(KEPT) {
        let path = memory(&folder.join(name));
        absent_is_fine(std::fs::remove_file(&path)).map_err(|e| io_error("remove", &path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_memories_are_kept_and_every_disk() {
        let place = tempfile::tempdir().unwrap();
        for number in 1..=KEPT + 3 {
            let template = place.path().join(format!("key{}-{}", number % 3, 1000 + number));
            std::fs::create_dir(&template).unwrap();
            std::fs::write(memory(&template), "").unwrap();
            std::fs::write(disk(&template), "").unwrap();
        }
        std::fs::create_dir(place.path().join(".key.begun")).unwrap();
        forget_old(place.path()).unwrap();
        let names = folder_entries(place.path()).unwrap();
        let left =
            |file: fn(&Path) -> PathBuf| names.iter().filter(|name| file(&place.path().join(name)).exists()).count();
        assert_eq!((left(memory), left(disk)), (KEPT, KEPT + 3));
        assert!(!memory(&place.path().join("key1-1001")).exists(), "the oldest goes first");
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("memory");
        make_pipe(&pipe).unwrap();
        let fed = pipe.clone();
        let feeder = std::thread::spawn(move || {
            let mut pipe = OpenOptions::new().write(true).open(fed).unwrap();
            pipe.write_all(&[0; 1 << 20])
        });
        while !feeder.is_finished() {
            release(&pipe);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(feeder.join().unwrap().unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    }
}
