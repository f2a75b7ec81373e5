//! What containers of every kind have in common: an overlay as their root, a first process by which they are entered,
//! systemd in them, cgroups by which they are held still.
//!
//! A hypervisor of containers is a [`Runtime`], little more than start and stop; [`ContainerDriver`] makes a
//! [`Driver`] of it.

pub mod cgroups;
mod console;
mod disk;
mod exec;
pub mod guest;
pub mod init;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::process::{Signal, pidfd_send_signal};

pub use self::disk::Disk;
use self::exec::Door;
#[cfg(feature = "libvirt")]
pub use self::exec::share_mount;
use self::guest::unplug;
use self::init::{RESTART_LIMIT, wait_ready};
use super::driver::{Driver, Flavour, Machine};
use super::hardware::limited_hardware;
use super::host::allow_hairpin;
use super::locked;
use super::process::Process;
use super::settings::LocalSettings;
use super::turn::Turn;
use crate::provider::command::run;
use crate::provider::{
    ExecRequest, Execution, FileStat, Foreign, Hardware, InstanceName, Kind, ProviderError, WriteOptions,
};

/// How long services get to end before they are killed.
const HALT_LIMIT: Duration = Duration::from_secs(20);

/// How long a container that was killed may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// What runs containers. The root of each is [`Disk::root`] below [`Runtime::home`], mounted before it is started.
///
/// The same rules as for [`Driver`]: every call may be repeated, and may find what somebody did by hand.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    fn kind(&self) -> Kind;

    /// Where the folders of all its containers lie.
    fn home(&self) -> &Path;

    /// First host id of its containers' range; `None` if they have the host's own ids.
    fn first_id(&self) -> Result<Option<u32>, ProviderError>;

    /// As [`Driver::open`].
    async fn open(&self) -> Result<(), ProviderError>;

    /// Whether the hypervisor knows the container, whose files are there if they are ours.
    ///
    /// # Errors
    /// [`ProviderError::NameTaken`] if it is somebody else's that bears the name.
    async fn knows(&self, machine: &Machine) -> Result<bool, ProviderError>;

    /// Starts the container. It is not running. One that is somebody's is started as it is.
    async fn start(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError>;

    /// Why a container that was just started does not run any more.
    fn ended_at_once(&self, machine: &Machine) -> ProviderError;

    /// Ends the container, which runs: by its init within the limit, at once without one. May fail if it ended by itself.
    async fn stop(&self, machine: &Machine, limit: Option<Duration>) -> Result<(), ProviderError>;

    /// Removes what the hypervisor itself knows and keeps of a container that is stopped.
    async fn forget(&self, machine: &Machine) -> Result<(), ProviderError>;

    /// As [`Driver::running`].
    async fn running(&self) -> Result<BTreeSet<String>, ProviderError>;

    /// Host process id of the first process of a container that runs.
    async fn init(&self, machine: &Machine) -> Result<Option<i32>, ProviderError>;

    /// Where the hypervisor writes down what a container's console shows, if it does. It limits that itself; `.1` is what
    /// was before.
    fn console_log(&self, machine: &Machine) -> Option<PathBuf> {
        let _ = machine;
        None
    }

    /// As [`Driver::named`].
    async fn named(&self, prefix: &str) -> Result<Vec<InstanceName>, ProviderError>;

    /// As [`Driver::foreign`].
    async fn foreign(&self, prefix: &str) -> Result<Vec<Foreign>, ProviderError>;

    /// Removes what is kept beside a container that is somebody's; it stays, and may run.
    async fn forget_guest(&self, machine: &Machine) -> Result<(), ProviderError>;
}

/// Containers of one kind.
pub struct ContainerDriver<R> {
    runtime: R,
    settings: LocalSettings,
    inits: Mutex<BTreeMap<InstanceName, Arc<Process>>>,
}

impl<R: Runtime> ContainerDriver<R> {
    pub fn new(runtime: R, settings: LocalSettings) -> Self {
        Self { runtime, settings, inits: Mutex::default() }
    }

    fn disk<'a>(&'a self, machine: &'a Machine) -> Disk<'a> {
        Disk::new(&self.settings, self.runtime.home(), machine)
    }

    async fn runs(&self, machine: &Machine) -> Result<bool, ProviderError> {
        Ok(self.runtime.running().await?.contains(machine.label()))
    }

    /// The machine's init, remembered as long as it lives.
    async fn init(&self, machine: &Machine) -> Result<Arc<Process>, ProviderError> {
        let name = &machine.name;
        let known = locked(&self.inits).get(name).cloned();
        if let Some(init) = known.filter(|init| init.is_alive()) {
            return Ok(init);
        }
        let not_running = || ProviderError::NotRunning { name: name.clone() };
        if !self.runs(machine).await? {
            let made = self.is_made(machine).await?;
            return Err(if made { not_running() } else { ProviderError::NoInstance(name.clone()) });
        }
        let pid = self.runtime.init(machine).await?.ok_or_else(not_running)?;
        let init = Process::watch(pid).map_err(|source| ProviderError::Enter { name: name.clone(), source })?;
        let init = Arc::new(init);
        locked(&self.inits).insert(name.clone(), init.clone());
        Ok(init)
    }

    async fn door(&self, machine: &Machine) -> Result<Door<'_>, ProviderError> {
        let init = self.init(machine).await?;
        Ok(Door { helper: &self.settings.helper, name: machine.name.clone(), init: init.pid })
    }

    /// The init of a container that runs, else `None`. One that ends or restarts itself has none for a moment.
    async fn settled(&self, machine: &Machine) -> Result<Option<Arc<Process>>, ProviderError> {
        let begun = Instant::now();
        while self.runs(machine).await? {
            match self.init(machine).await {
                Err(ProviderError::NotRunning { .. } | ProviderError::NoInstance(_))
                    if begun.elapsed() < RESTART_LIMIT => {}
                other => return other.map(Some),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(None)
    }

    /// Waits for the end of a container that is ending: what a killed controller began, the hypervisor's tools finish.
    async fn let_end(&self, machine: &Machine) -> Result<(), ProviderError> {
        if let Some(init) = self.settled(machine).await?
            && matches!(wait_ready(&machine.name, &init).await, Err(ProviderError::NotRunning { .. }))
        {
            self.settled(machine).await?;
        }
        Ok(())
    }

    async fn stop(&self, machine: &Machine, limit: Option<Duration>) -> Result<(), ProviderError> {
        self.runtime.knows(machine).await?;
        if !self.runs(machine).await? {
            return Ok(());
        }
        // Somebody may have frozen it: it would neither hear that it is to end, nor die when it is killed.
        if let Ok(init) = self.init(machine).await
            && let Err(error) = cgroups::thaw(init.pid)
        {
            tracing::debug!("whether {} is frozen is not known: {error}", machine.name);
        }
        let stopped = self.runtime.stop(machine, limit).await;
        // It may have ended by itself meanwhile, or its configuration was deleted by hand.
        if stopped.is_err()
            && let Some(init) = self.settled(machine).await?
        {
            let killed = pidfd_send_signal(&init.handle, Signal::KILL);
            killed.map_err(|source| ProviderError::Enter { name: machine.name.clone(), source: source.into() })?;
            let deadline = Instant::now() + KILL_LIMIT;
            while self.runs(machine).await? && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    /// Starts one that is somebody's unless it runs, and connects it.
    async fn begin_guest(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        if !self.runs(machine).await? {
            if !self.is_made(machine).await? {
                return Err(ProviderError::NoInstance(machine.name.clone()));
            }
            self.runtime.start(machine, turn).await?;
        }
        let init = self.init(machine).await?;
        wait_ready(&machine.name, &init).await?;
        self.plug(machine, &init).await
    }

    /// Runs a tool of the machine's own, whatever comes of it.
    async fn run_inside(&self, machine: &Machine, argv: &[&str]) -> Result<(), ProviderError> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecRequest { argv, ..ExecRequest::default() };
        let ended = self.exec(machine, request.clone()).await?.control.wait().await?;
        tracing::debug!("{}: {:?}: {ended:?}", machine.name, request.argv);
        Ok(())
    }
}

#[async_trait]
impl<R: Runtime> Driver for ContainerDriver<R> {
    fn kind(&self) -> Kind {
        self.runtime.kind()
    }

    fn flavour(&self) -> Flavour {
        Flavour::Container
    }

    async fn hardware(&self, machine: &Machine) -> Result<Hardware, ProviderError> {
        Ok(limited_hardware(match machine.is_guest() {
            true => cgroups::limits(self.init(machine).await?.pid),
            false => machine.record.limits(),
        }))
    }

    async fn open(&self) -> Result<(), ProviderError> {
        self.runtime.open().await
    }

    async fn is_made(&self, machine: &Machine) -> Result<bool, ProviderError> {
        Ok(self.runtime.knows(machine).await? && (machine.is_guest() || self.disk(machine).is_whole()))
    }

    async fn make(&self, machine: &Machine, seed: Option<&Path>) -> Result<(), ProviderError> {
        self.runtime.knows(machine).await?;
        self.disk(machine).make(seed).await
    }

    async fn begin(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        if machine.is_guest() {
            return self.begin_guest(machine, turn).await;
        }
        self.let_end(machine).await?;
        if !self.runs(machine).await? {
            self.disk(machine).mount(self.runtime.first_id()?, turn).await?;
            if self.disk(machine).is_emptied()? {
                return Err(ProviderError::NoInstance(machine.name.clone()));
            }
            self.runtime.start(machine, turn).await?;
            if let Err(error) = allow_hairpin(&machine.wiring.cable) {
                // Half of its files may have been deleted by hand, and it may not have ended to the last yet.
                self.let_end(machine).await?;
                return Err(if self.runs(machine).await? { error } else { self.runtime.ended_at_once(machine) });
            }
        }
        let init = self.init(machine).await?;
        wait_ready(&machine.name, &init).await
    }

    async fn halt(&self, machine: &Machine) -> Result<(), ProviderError> {
        self.stop(machine, Some(HALT_LIMIT)).await?;
        if machine.is_guest() { Ok(()) } else { self.disk(machine).unmount() }
    }

    async fn end(&self, machine: &Machine) -> Result<(), ProviderError> {
        if machine.record.origin.is_some() {
            return self.release(machine).await;
        }
        self.stop(machine, None).await?;
        self.disk(machine).remove().await?;
        self.runtime.forget(machine).await?;
        locked(&self.inits).remove(&machine.name);
        Ok(())
    }

    async fn running(&self) -> Result<BTreeSet<String>, ProviderError> {
        self.runtime.running().await
    }

    async fn named(&self, prefix: &str) -> Result<Vec<InstanceName>, ProviderError> {
        self.runtime.named(prefix).await
    }

    /// If it restarts itself what runs it stays, and a new init comes.
    async fn ended(&self, machine: &Machine) {
        while let Ok(init) = self.init(machine).await {
            init.ended().await;
            let begun = Instant::now();
            while begun.elapsed() < RESTART_LIMIT && self.runs(machine).await.is_ok_and(|runs| runs) {
                if self.init(machine).await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn expects_cable(&self, machine: &Machine) -> bool {
        self.init(machine).await.is_ok()
    }

    async fn lay_cable(&self, machine: &Machine) -> Result<(), ProviderError> {
        let init = self.init(machine).await?;
        if machine.is_guest() {
            return self.lay_second_cable(machine, &init).await;
        }
        let pid = init.pid.to_string();
        let wiring = &machine.wiring;
        let own = wiring.interface.as_str();
        let peer = ["peer", "name", own, "address", &wiring.hardware, "netns", &pid];
        run(&[&["ip", "link", "add", &wiring.cable, "type", "veth"][..], &peer].concat(), b"").await?;
        // The machine's own end is set up as it was at the start.
        let address = format!("{}/{}", wiring.address, wiring.prefix);
        let gateway = wiring.gateway.to_string();
        self.run_inside(machine, &["ip", "address", "replace", &address, "dev", own]).await?;
        self.run_inside(machine, &["ip", "link", "set", own, "up"]).await?;
        self.run_inside(machine, &["ip", "route", "replace", "default", "via", &gateway]).await
    }

    async fn exec(&self, machine: &Machine, request: ExecRequest) -> Result<Execution, ProviderError> {
        self.door(machine).await?.run(request).await
    }

    async fn read_file(&self, machine: &Machine, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        self.door(machine).await?.read(path, limit).await
    }

    async fn write_file(
        &self,
        machine: &Machine,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError> {
        self.door(machine).await?.write(path, content, options).await
    }

    async fn stat_file(&self, machine: &Machine, path: &str) -> Result<Option<FileStat>, ProviderError> {
        self.door(machine).await?.stat(path).await
    }

    async fn remove_file(&self, machine: &Machine, path: &str) -> Result<(), ProviderError> {
        self.door(machine).await?.remove(path).await
    }

    async fn console(&self, machine: &Machine, terminal: (u16, u16)) -> Result<Execution, ProviderError> {
        let execution = self.exec(machine, console::login(terminal)).await?;
        let log = self.runtime.console_log(machine);
        Ok(console::after(log.map_or(Ok(Vec::new()), |log| console::shown_last(&log))?, execution))
    }

    fn data(&self, machine: &Machine) -> PathBuf {
        self.disk(machine).upper()
    }

    async fn pause(&self, machine: &Machine) -> Result<(), ProviderError> {
        let init = self.init(machine).await?;
        cgroups::freeze(&machine.name, init.pid).await
    }

    async fn resume(&self, machine: &Machine) -> Result<(), ProviderError> {
        match self.init(machine).await {
            Ok(init) => cgroups::thaw(init.pid),
            Err(ProviderError::NotRunning { .. } | ProviderError::NoInstance(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn foreign(&self, prefix: &str) -> Result<Vec<Foreign>, ProviderError> {
        self.runtime.foreign(prefix).await
    }

    async fn adopt(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        if !machine.is_guest() {
            self.disk(machine).make(None).await?;
        }
        self.begin(machine, turn).await
    }

    /// The container that was made for a folder ends; one that was there before runs on.
    async fn release(&self, machine: &Machine) -> Result<(), ProviderError> {
        if machine.is_guest() {
            let init = match self.init(machine).await {
                Err(ProviderError::NotRunning { .. } | ProviderError::NoInstance(_)) => None,
                other => Some(other?),
            };
            unplug(machine, init.as_deref()).await?;
            self.runtime.forget_guest(machine).await?;
        } else {
            self.halt(machine).await?;
            self.disk(machine).remove().await?;
            self.runtime.forget(machine).await?;
        }
        locked(&self.inits).remove(&machine.name);
        Ok(())
    }
}
