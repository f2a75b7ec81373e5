//! Wires it all, in the order in which things start: journal, log, charms, provider, workers, API.

mod backend;
mod backup;
mod daemon;
mod debug_hooks;
mod host;
mod machines;
mod refused;
mod restore;
mod session;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::EnvironmentName;
use crate::charm::CharmHost;
use crate::model::{Change, Constraints, HardwareFacts, MachineId, Millis, Provision, UnitName};
use crate::plan::nudge::Concerned;
use crate::provider::{InstanceSpec, Provider};
use crate::store::Journal;
use crate::worker::charms::CharmStore;
use crate::worker::debugging::Debugging;
use crate::worker::driver::drive;
use crate::worker::firewaller::{self, Published};
use crate::worker::hook_runner::HookRunner;
use crate::worker::layers::Layers;
use crate::worker::ledger::{Clock, Ledger, LedgerError, Writing};
use crate::worker::locks::MachineLocks;
use crate::worker::logbook::Logbook;
use crate::worker::observer::Watches;
use crate::worker::unit_agent::{self, Agents};
use crate::worker::{World, action_agent, caretaker, chain, kinds, observer, provisioner};

pub use backend::ControllerBackend;
pub use backup::Origin;
pub use daemon::run;
pub use host::LocalHost;

/// Machines made or destroyed at the same time.
const PARALLEL_MACHINES: usize = 16;
/// Units whose hooks run at the same time.
const PARALLEL_UNITS: usize = 64;
/// Until the provider is asked again to open after it failed.
const REOPEN: Duration = Duration::from_secs(15);

/// What a controller is made of; a test puts in its own.
pub struct Parts {
    pub environment: EnvironmentName,
    pub series: String,
    /// `<user>-<environment>-`
    pub prefix: String,
    /// What a backup tells of where it comes from.
    pub origin: Origin,
    /// Where logs and charms are kept; `None` is memory only.
    pub folder: Option<PathBuf>,
    /// Most bytes that the logs of all machines take.
    pub log_size: u64,
    pub repository: Option<PathBuf>,
    pub journal: Box<dyn Journal>,
    pub provider: Arc<dyn Provider>,
    pub writing: Writing,
    pub charm_host: Arc<CharmHost>,
    /// In a simulation not the charms' own Lua.
    pub hooks: Arc<dyn HookRunner>,
    pub clock: Clock,
    /// Milliseconds until a failed hook is run again for the first time, doubled each time; `None` is never.
    pub retry_hooks: Option<Millis>,
    /// How often update-status runs; `None` is never.
    pub update_status: Option<Duration>,
    /// Whether instances end with this process (simulated): they are made again from the model at the start.
    pub instances_in_memory: bool,
}

/// A running controller. Dropping it ends all work at once, like `kill -9`.
pub struct Controller {
    pub world: World,
    workers: Arc<Workers>,
    stopping: CancellationToken,
    origin: Origin,
}

/// The tasks that do the work.
pub struct Workers {
    tasks: Mutex<JoinSet<()>>,
    /// What they began for single machines and units.
    begun: TaskTracker,
}

impl Workers {
    /// Ends all work; hooks that run are cut off and run again by the next controller.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        // Nobody begins anything any more, and all that was begun is being cut off.
        self.begun.close();
        self.begun.wait().await;
    }
}

impl Controller {
    /// Starts everything and returns at once; opening the provider goes on in the background.
    ///
    /// # Errors
    /// The journal or the log cannot be opened.
    pub async fn start(parts: Parts) -> anyhow::Result<Controller> {
        let (nudges, nudged) = mpsc::unbounded_channel();
        let ledger = Ledger::open(parts.journal, parts.clock.clone(), nudges, parts.writing)?;
        let fresh = ledger.model().environment.is_none();
        if fresh {
            let change = Change::CreateEnvironment { name: parts.environment, series: parts.series.clone() };
            ledger.commit("bootstrap", change).await?;
            // Machine 0 is there from the first moment, to be waited for; its address is found later.
            ledger.commit("bootstrap", host_found(parts.provider.as_ref(), &parts.series)).await?;
        }
        let kinds = kinds::found(parts.provider.as_ref());
        ledger.commit("bootstrap", Change::KindsFound { kinds }).await?;
        ledger.observe(|observed| {
            observed.opening = Some("opening the provider".to_owned());
            observed.retry_hooks = parts.retry_hooks;
            observed.elsewhere = parts.provider.elsewhere();
        });
        let log = parts.folder.as_ref().map(|folder| (folder.join("log"), parts.log_size));
        let logbook = Logbook::open(log, parts.clock)?;
        let (opened, open) = watch::channel(false);
        let world = World {
            ledger,
            provider: parts.provider,
            charm_host: parts.charm_host,
            hooks: parts.hooks,
            charms: Arc::new(CharmStore::new(parts.folder.as_ref().map(|folder| folder.join("charms")))),
            folder: parts.folder,
            logbook: Arc::new(logbook),
            locks: MachineLocks::default(),
            tasks: TaskTracker::new(),
            prefix: parts.prefix,
            retry_hooks: parts.retry_hooks,
            update_status: parts.update_status,
            debugging: Debugging::default(),
            open,
        };
        let mut tasks = JoinSet::new();
        spawn_workers(&mut tasks, &world, nudged, opened, (parts.series, parts.instances_in_memory));
        let workers = Arc::new(Workers { tasks: Mutex::new(tasks), begun: world.tasks.clone() });
        Ok(Controller { world, workers, stopping: CancellationToken::new(), origin: parts.origin })
    }

    /// The side of the controller that the API speaks to.
    pub fn backend(&self, repository: Option<PathBuf>) -> Arc<ControllerBackend> {
        let (world, workers, stopping) = (self.world.clone(), self.workers.clone(), self.stopping.clone());
        Arc::new(ControllerBackend::new(world, workers, stopping, (repository, self.origin.clone())))
    }

    /// Ends when somebody asked the controller to stop, or the ledger could not go on.
    pub async fn stopped(&self) {
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = self.world.ledger.ended() => {}
        }
    }

    pub async fn stop(&self) {
        self.workers.stop().await;
    }
}

fn spawn_workers(
    tasks: &mut JoinSet<()>,
    world: &World,
    nudged: mpsc::UnboundedReceiver<Concerned>,
    opened: watch::Sender<bool>,
    (series, instances_in_memory): (String, bool),
) {
    let (machine_nudge, machine_nudges) = mpsc::unbounded_channel::<MachineId>();
    let (unit_nudge, unit_nudges) = mpsc::unbounded_channel::<UnitName>();
    let (action_nudge, action_nudges) = mpsc::unbounded_channel::<UnitName>();
    let (firewall_nudge, firewall_nudges) = mpsc::unbounded_channel::<()>();
    let nudge = Nudge { machines: machine_nudge, units: unit_nudge, actions: action_nudge, firewall: firewall_nudge };

    let (layers, agents, published) = (Layers::default(), Agents::default(), Published::default());
    let (each, watches) = (world.clone(), Watches::new(nudge.machines.clone()));
    tasks.spawn(drive(machine_nudges, PARALLEL_MACHINES, move |id| {
        each.tasks.track_future(provisioner::reconcile(each.clone(), layers.clone(), watches.clone(), id))
    }));
    let each = world.clone();
    tasks.spawn(drive(unit_nudges, PARALLEL_UNITS, move |name| {
        each.tasks.track_future(unit_agent::reconcile(each.clone(), agents.clone(), name))
    }));
    let each = world.clone();
    tasks.spawn(drive(action_nudges, PARALLEL_UNITS, move |name| {
        each.tasks.track_future(action_agent::reconcile(each.clone(), name))
    }));
    let each = world.clone();
    tasks.spawn(drive(firewall_nudges, 1, move |()| {
        each.tasks.track_future(firewaller::reconcile(each.clone(), published.clone()))
    }));

    tasks.spawn(caretaker::watch_journal(world.clone()));
    tasks.spawn(dispatch(nudged, nudge.clone()));
    tasks.spawn(open(world.clone(), opened, nudge, (series, instances_in_memory)));
}

#[derive(Clone)]
struct Nudge {
    machines: mpsc::UnboundedSender<MachineId>,
    units: mpsc::UnboundedSender<UnitName>,
    actions: mpsc::UnboundedSender<UnitName>,
    firewall: mpsc::UnboundedSender<()>,
}

impl Nudge {
    /// A driver that has ended needs no nudge.
    fn send(&self, concerned: Concerned) {
        for machine in concerned.machines {
            let _ = self.machines.send(machine);
        }
        for unit in concerned.units {
            let _ = self.units.send(unit);
        }
        for unit in concerned.actions {
            let _ = self.actions.send(unit);
        }
        if concerned.exposure {
            let _ = self.firewall.send(());
        }
    }
}

async fn dispatch(mut nudged: mpsc::UnboundedReceiver<Concerned>, nudge: Nudge) {
    while let Some(concerned) = nudged.recv().await {
        nudge.send(concerned);
    }
}

/// Opens the provider, looks at what became of the machines, and lets the work begin.
async fn open(world: World, opened: watch::Sender<bool>, nudge: Nudge, (series, in_memory): (String, bool)) {
    loop {
        match try_open(&world, &series, in_memory).await {
            Ok(()) => break,
            Err(error) => {
                let words = chain(error.as_ref());
                tracing::error!("the provider cannot be opened: {words}");
                world.logbook.machine_error(MachineId::HOST, "provisioner", &words);
                world.ledger.observe(|observed| {
                    observed.opening = Some(words);
                    observed.opening_failed = true;
                });
                tokio::time::sleep(REOPEN).await;
            }
        }
    }
    opened.send_replace(true);
    world.ledger.observe(|observed| {
        observed.opening = None;
        observed.opening_failed = false;
    });
    nudge.send(Concerned::everyone(&world.ledger.model()));
    // `opened` is kept for as long as the workers live.
    caretaker::watch_network(world).await;
}

async fn try_open(
    world: &World,
    series: &str,
    in_memory: bool,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let teller = world.clone();
    let progress = move |what: &str| {
        teller.logbook.machine_info(MachineId::HOST, "provisioner", what);
        teller.ledger.observe(|observed| {
            observed.opening = Some(what.to_owned());
            observed.opening_failed = false;
        });
    };
    world.provider.open(Arc::new(progress)).await?;
    match world.ledger.commit("bootstrap", host_found(world.provider.as_ref(), series)).await {
        Ok(_) | Err(LedgerError::Stopped) => {}
        Err(error) => return Err(error.into()),
    }
    kinds::look_again(world).await?;
    if in_memory {
        remake_instances(world).await?;
    }
    observer::observe(world).await?;
    Ok(())
}

fn host_found(provider: &dyn Provider, series: &str) -> Change {
    let hardware = provider.host_hardware();
    Change::HostFound {
        series: series.to_owned(),
        address: provider.host_address(),
        hardware: HardwareFacts { arch: hardware.arch, cores: hardware.cores, mem: hardware.memory },
    }
}

/// Instances that lived in the memory of an earlier controller.
async fn remake_instances(world: &World) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let known = world.provider.list().await?;
    let instances: Vec<(String, Constraints)> = {
        let model = world.ledger.model();
        let running = model.machines.values().filter_map(|machine| match &machine.provision {
            Provision::Running { instance, .. } => Some((instance.clone(), machine.constraints.clone())),
            _ => None,
        });
        running.collect()
    };
    for (instance, Constraints { mem: memory, cpu_cores: cores, virt_type: kind, .. }) in instances {
        let name = crate::provider::InstanceName::new(instance)?;
        if !known.contains_key(&name) {
            let series = world.ledger.model().series.clone();
            let spec = InstanceSpec { name, kind, series, layers: vec![], memory, cores, build: false };
            world.provider.create(&spec).await?;
        }
    }
    Ok(())
}
