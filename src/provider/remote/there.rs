//! The hidden mode: this binary on the host of the machines, with a controller elsewhere at its standard streams.
//!
//! It ends when its standard input does, and all that it runs with it: a connection that breaks, or a controller that
//! dies, is the end of its commands. Machines go on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::BufReader;

use super::protocol::{Place, state_folder};
use super::server;
use crate::provider::command::replace_file;
use crate::provider::local::LocalSettings;
use crate::provider::local::record::{absent_is_fine, io_error};
use crate::provider::{ProviderError, registry};

/// With this as its first argument the binary is the other host's end.
pub const ARGUMENT: &str = "__provider";

/// Where environments of controllers elsewhere are kept.
const ROOT: &str = "/var/lib/encanto";
/// In an environment's folder: whose it is, and whether somebody serves it.
const CONTROLLER: &str = "controller";
const LOCK: &str = "lock";

/// How long a predecessor, whose connection broke, has to notice.
const PREDECESSOR: Duration = Duration::from_secs(3);

/// Serves if the process was started for it. To be called first in `main`.
pub fn run_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT);
    asked.then(|| match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the connection to the controller broke: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run() -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let _ = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(io::stderr).try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(attend());
    // What blocks a thread ends with the process.
    runtime.shutdown_background();
    served
}

async fn attend() -> io::Result<()> {
    let input = BufReader::with_capacity(64 << 10, tokio::io::stdin());
    let mut held = None;
    let served = server::attend(input, tokio::io::stdout(), async |place| {
        let hold = held.insert(Hold::take(Path::new(ROOT), &place).await?);
        let settings = settings(&hold.folder, &place);
        server::blocking(move || registry::local(settings)).await
    });
    let served = served.await;
    if let Some(hold) = held {
        hold.release();
    }
    served
}

fn settings(folder: &Path, place: &Place) -> LocalSettings {
    LocalSettings {
        mirror: place.mirror.clone(),
        series: place.series.clone(),
        default_kind: place.default_kind.clone(),
        ..LocalSettings::new(&place.user, &place.environment, folder)
    }
}

/// The right to serve an environment: one process has it at a time, of one controller.
#[derive(Debug)]
pub struct Hold {
    pub folder: PathBuf,
    /// Locked.
    _lock: File,
}

impl Hold {
    /// # Errors
    /// The name is in use by another controller, or the folder cannot be made.
    pub async fn take(root: &Path, place: &Place) -> Result<Hold, ProviderError> {
        let folder = state_folder(root, place);
        // Before a predecessor is ended: it may be somebody else's.
        refuse_strangers(&folder, place)?;
        let lock = loop {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|e| io_error("make", &folder, e))?;
            let path = folder.join(LOCK);
            let lock = locked(&path).await.map_err(|e| io_error("lock", &path, e))?;
            // A predecessor may have removed the folder meanwhile.
            let same = std::fs::metadata(&path).and_then(|now| Ok(now.ino() == lock.metadata()?.ino()));
            if same.unwrap_or(false) {
                break lock;
            }
        };
        std::fs::write(folder.join(LOCK), std::process::id().to_string()).map_err(|e| io_error("write", &folder, e))?;
        let hold = Hold { folder, _lock: lock };
        match refuse_strangers(&hold.folder, place) {
            Ok(()) => replace_file(&hold.folder.join(CONTROLLER), place.controller.as_bytes()).map(|()| hold),
            Err(error) => Err(error),
        }
    }

    /// When nothing is left of the environment, its folder goes too.
    pub fn release(self) {
        let is_empty = !self.folder.join("lxc").exists();
        if is_empty && let Err(error) = absent_is_fine(std::fs::remove_dir_all(&self.folder)) {
            tracing::warn!("{} cannot be removed: {error}", self.folder.display());
        }
    }
}

/// Machines are named by user and environment: who has them there is known by its folder, or by the names themselves.
fn refuse_strangers(folder: &Path, place: &Place) -> Result<(), ProviderError> {
    let taken = |by: &str| {
        let Place { user, environment, .. } = place;
        Err(ProviderError::Remote {
            words: format!("{by} has an environment \"{environment}\" of {user} there already"),
            remedy: Some("give yours another name in environments.yaml".into()),
        })
    };
    match std::fs::read_to_string(folder.join(CONTROLLER)) {
        Ok(controller) if controller == place.controller => Ok(()),
        Ok(_) => taken("another controller"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match settings(folder, place).has_own_names()? {
            true => taken("that host itself"),
            false => Ok(()),
        },
        Err(error) => Err(io_error("read", &folder.join(CONTROLLER), error)),
    }
}

/// The lock, taken from a predecessor that does not notice that nobody speaks to it any more.
async fn locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    let waiting = file.try_clone()?;
    let mut wait = tokio::task::spawn_blocking(move || flock(&waiting, FlockOperation::LockExclusive));
    let taken = match tokio::time::timeout(PREDECESSOR, &mut wait).await {
        Ok(taken) => taken,
        Err(_) => {
            end_predecessor(path);
            wait.await
        }
    };
    taken.map_err(io::Error::other)??;
    Ok(file)
}

fn end_predecessor(path: &Path) {
    let number = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let Some(pid) = number.and_then(Pid::from_raw) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // The number may belong to another process by now.
    let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    if command.split(|byte| *byte == 0).nth(1) == Some(ARGUMENT.as_bytes()) {
        tracing::warn!("ending process {}, whose controller has come back", pid.as_raw_nonzero());
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(controller: &str) -> Place {
        Place {
            user: "ana".into(),
            environment: "r1-hold".into(),
            controller: controller.into(),
            mirror: None,
            series: "bookworm".into(),
            default_kind: None,
        }
    }

    #[tokio::test]
    async fn an_environment_is_one_controllers_until_nothing_is_left_of_it() {
        let root = tempfile::tempdir().unwrap();
        let hold = Hold::take(root.path(), &place("one")).await.unwrap();
        std::fs::create_dir(hold.folder.join("lxc")).unwrap();
        hold.release();
        let refused = Hold::take(root.path(), &place("two")).await.unwrap_err();
        assert_eq!(refused.to_string(), "another controller has an environment \"r1-hold\" of ana there already");
        let hold = Hold::take(root.path(), &place("one")).await.unwrap();
        std::fs::remove_dir(hold.folder.join("lxc")).unwrap();
        hold.release();
        Hold::take(root.path(), &place("two")).await.unwrap().release();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn who_comes_next_waits_for_the_one_before() {
        let root = tempfile::tempdir().unwrap();
        let first = Hold::take(root.path(), &place("one")).await.unwrap();
        let next = tokio::spawn({
            let root = root.path().to_owned();
            async move { Hold::take(&root, &place("one")).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!next.is_finished());
        // It removes the folder, and with it the file that the next one waits at.
        first.release();
        let next = next.await.unwrap().unwrap();
        assert!(next.folder.join(LOCK).exists());
    }
}
