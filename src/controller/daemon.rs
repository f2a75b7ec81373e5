//! The controller as a process: lock, socket, API, and leaving nothing behind.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::server::Peer;
use crate::api::{EnvironmentKind, EnvironmentSettings};
use crate::charm::{CharmHost, Limits};
use crate::provider::local::LocalSettings;
use crate::provider::{Provider, command, systemd};
use crate::store::SqliteJournal;
use crate::worker::World;
use crate::worker::capped::CappedFile;
use crate::worker::ledger::Writing;

use super::backup::{self, Origin};
use super::{Controller, Parts, host};

/// Deep Lua recursion in an unoptimised build needs that much.
const STACK: usize = 8 << 20;
/// How long answers that are on their way may take when the controller ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often update-status runs, as in Juju.
const UPDATE_STATUS: Duration = Duration::from_secs(300);
/// Milliseconds until a failed hook is run again for the first time, as in Juju.
const FIRST_RETRY: i64 = 5_000;
/// The controller's own log takes one part of so many; it is two files at most.
const CONTROLLER_SHARE: u64 = 10;
/// In the environment's folder: everything in it is gone from the host, only files are left.
const DESTROYED: &str = "destroyed";

/// Is the controller of an environment until it is stopped. Says `listening on …` on `ready` when commands are taken.
///
/// # Errors
/// Another controller runs, the journal cannot be read, the socket cannot be made.
pub fn run(settings: &EnvironmentSettings, ready: &mut dyn Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().min(8)))
        .thread_stack_size(STACK)
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(settings, ready))
}

/// The provider that an environment names.
///
/// # Errors
/// What an earlier controller left cannot be read.
pub fn provider(settings: &EnvironmentSettings) -> anyhow::Result<Arc<dyn Provider>> {
    Ok(host::said(settings).provider(place(settings))?)
}

fn place(settings: &EnvironmentSettings) -> LocalSettings {
    let mut place = LocalSettings::new(&settings.user, settings.name.to_string(), &settings.folder);
    place.mirror = settings.mirror.clone();
    place.series = settings.series.clone();
    place
}

async fn serve(settings: &EnvironmentSettings, ready: &mut dyn Write) -> anyhow::Result<()> {
    make_folder(settings)?;
    let _only_one = lock(&settings.folder)?;
    backup::clear_scratch(&settings.folder)?;
    log_to(&settings.controller_log(), settings.log_size / CONTROLLER_SHARE / 2)?;
    let left = || host::said(settings).has_left_machines(&place(settings));
    if !settings.journal().exists() && left().context("cannot read what is left of its machines")? {
        bail!(
            "the journal {} is gone, and without it nobody knows what its machines are for: destroy the environment, or \
             bring the journal back",
            settings.journal().display()
        );
    }
    let journal = SqliteJournal::open(&settings.journal())?;
    let charm_host = Arc::new(CharmHost::new(Limits::default()));
    let parts = Parts {
        environment: settings.name.clone(),
        series: settings.series.clone(),
        prefix: settings.prefix(),
        origin: Origin::of(settings),
        folder: Some(settings.folder.clone()),
        log_size: settings.log_size - settings.log_size / CONTROLLER_SHARE,
        repository: settings.repository.clone(),
        journal: Box::new(journal),
        provider: provider(settings)?,
        writing: Writing::Thread,
        hooks: charm_host.clone(),
        charm_host,
        clock: Arc::new(now),
        update_status: Some(UPDATE_STATUS),
        retry_hooks: settings.retry_hooks.then_some(FIRST_RETRY),
        instances_in_memory: settings.kind == EnvironmentKind::Simulated,
    };
    let repository = settings.repository.clone();
    let controller = Arc::new(Controller::start(parts).await?);
    let listener = listen(settings)?;
    tracing::info!("version {} listens on {}", crate::api::VERSION, settings.socket().display());
    writeln!(ready, "listening on {}", settings.socket().display()).context("cannot tell that it listens")?;
    ready.flush().ok();
    leave_terminal(settings)?;
    systemd::notify_ready();

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopper = controller.clone();
    let stopped = async move {
        tokio::select! {
            () = stopper.stopped() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (told, mut ended) = tokio::sync::watch::channel(false);
    let router = crate::api::server::router(controller.backend(repository));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        stopped.await;
        told.send_replace(true);
    });
    // Streams (`wait`, `debug-log`) never end by themselves: they are given a moment for what is on its way.
    let farewell = async move {
        let _ = ended.wait_for(|ended| *ended).await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        served = server => served.context("the API failed")?,
        () = farewell => {}
    }
    controller.stop().await;
    tracing::info!("stopped");
    remove_if_there(&settings.socket())?;
    if settings.folder.join(DESTROYED).exists() {
        systemd::forget_service(&settings.user, settings.name.as_str());
        std::fs::remove_dir_all(&settings.folder)
            .with_context(|| format!("cannot remove {}", settings.folder.display()))?;
    }
    Ok(())
}

/// From now on only files are left to remove; if the process ends before it did, the next one sees this.
pub fn mark_destroyed(world: &World) {
    if let Some(folder) = world.folder.as_ref()
        && let Err(error) = std::fs::write(folder.join(DESTROYED), b"")
    {
        tracing::error!("{} cannot be written: {error}", folder.join(DESTROYED).display());
    }
}

/// What was half destroyed lives again.
pub(super) fn forget_destruction(folder: &Path) -> anyhow::Result<()> {
    remove_if_there(&folder.join(DESTROYED))
}

/// Started in the background: from here on what goes wrong without a word in the log (a panic) goes there too.
fn leave_terminal(settings: &EnvironmentSettings) -> anyhow::Result<()> {
    if std::env::var_os(command::DAEMON).is_some() {
        let log = OpenOptions::new().append(true).open(settings.controller_log())?;
        rustix::stdio::dup2_stdout(&log)?;
        rustix::stdio::dup2_stderr(&log)?;
    }
    Ok(())
}

pub(super) fn now() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "the edge where time enters")]
    Timestamp::now().as_millisecond()
}

pub(super) fn make_folder(settings: &EnvironmentSettings) -> anyhow::Result<()> {
    for folder in [&settings.folder, &settings.log_folder(), &settings.folder.join("charms")] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // The journal holds passwords; the socket inside must be reachable for its owner.
    std::fs::set_permissions(&settings.folder, Permissions::from_mode(0o700))?;
    give(&settings.folder, settings)?;
    Ok(())
}

/// Under sudo the files belong to who called it.
fn give(path: &Path, settings: &EnvironmentSettings) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(settings.uid), Some(settings.gid))
            .with_context(|| format!("cannot give {} to user {}", path.display(), settings.uid))?;
    }
    Ok(())
}

/// How long a controller that is being killed may hold its lock still. Nobody tells of its end.
const DYING: Duration = Duration::from_secs(1);

pub(super) fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("controller.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < DYING => std::thread::sleep(DYING / 100),
            Err(rustix::io::Errno::WOULDBLOCK) => bail!("a controller of this environment runs already"),
            Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

fn listen(settings: &EnvironmentSettings) -> anyhow::Result<UnixListener> {
    let path = settings.socket();
    // Left over from a controller that was killed: the lock says that none runs.
    remove_if_there(&path)?;
    let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o660))?;
    give(&path, settings)?;
    Ok(listener)
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn log_to(path: &Path, limit: u64) -> anyhow::Result<()> {
    let file = CappedFile::open(path, limit).with_context(|| format!("cannot open {}", path.display()))?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("ENCANTO_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Mutex::new(file));
    // A second controller in one process (tests) keeps the first one's.
    let _ = subscriber.try_init();
    Ok(())
}
