//! Machines on this host, of whatever kind.
//!
//! [`LocalProvider`] does for all of them alike what concerns addresses, bridge, names, firewall, records, images, layers
//! and copies. What a kind does in its own way is its [`driver::Driver`].
//!
//! - [`helper`] runs in a process of its own: it enters machines and mounts their roots.
//! - [`instance`] knows each instance and its driver; they work on it one call at a time ([`turn`]); [`record`] is what is
//!   remembered of it. [`drivers`] are opened when they are first needed.
//! - [`adopt`] takes over what others made ([`look`] looks into it, [`claims`] say whose it is), and gives it back.
//! - [`container`] is what containers of every kind have in common. [`copies`] clones and keeps what instances wrote.
//! - [`image`] builds the base image; [`apt`] finds its sources; [`guest`] is what a virtual machine's has beside;
//!   [`layer`] makes layers.
//! - [`host`] does and [`network`] decides what concerns bridge, names and firewall. [`disturbance`] sees what others do
//!   to them; [`cable`] is what machines hang on.
//!
//! # Guarantees
//! On disk everything is unshifted; ids are shifted by idmapped mounts only. The folders that hold it are closed to all
//! but root. Machines, bridge, firewall and name server survive the end of the controller, `kill -9` included.

mod adopt;
mod apt;
mod cable;
mod claims;
pub mod container;
pub mod copies;
mod disturbance;
pub mod driver;
mod drivers;
pub mod guest;
pub mod hardware;
pub mod helper;
pub mod host;
pub mod image;
mod instance;
pub mod layer;
pub mod look;
mod network;
pub mod process;
pub mod record;
mod settings;
pub mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};

use self::driver::{Driver, Flavour, Machine};
use self::drivers::Drivers;
use self::host::HostNetwork;
use self::image::ImageRecipe;
use self::network::{NetworkChoice, POOL};
use self::record::{InstanceRecord, RecordFolder, load_json, store_json};
pub use self::settings::LocalSettings;
use super::{
    ExecRequest, Execution, FileStat, Foreign, Hardware, Instance, InstanceName, InstanceSpec, InstanceState, Kind,
    LayerKey, Origin, Progress, Provider, ProviderError, PublishedPort, Snapshot, WriteOptions,
};

/// How many instances are ended at the same time.
const ENDED_AT_ONCE: usize = 8;

/// How long the services of a machine that is started again may take.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// All machines of one environment on this host.
pub struct LocalProvider {
    settings: LocalSettings,
    drivers: Drivers,
    /// Kinds that this binary does not have, and why.
    absent: Vec<(Kind, String)>,
    record_folder: RecordFolder,
    records: Mutex<BTreeMap<InstanceName, InstanceRecord>>,
    /// One at a time for each instance. Never removed: someone may wait for one.
    turns: Mutex<BTreeMap<InstanceName, Arc<tokio::sync::Mutex<()>>>>,
    network: Mutex<Option<NetworkChoice>>,
    recipes: Mutex<BTreeMap<(Flavour, String), ImageRecipe>>,
    /// Orders the changes of the firewall and of the hosts file.
    publishing: tokio::sync::Mutex<()>,
    /// The firewall table as the kernel listed it after it was loaded.
    loaded_firewall: Mutex<Option<Vec<u8>>>,
}

impl LocalProvider {
    /// Reads what an earlier run left; changes nothing.
    pub fn new(settings: LocalSettings, drivers: Vec<Arc<dyn Driver>>) -> Result<Self, ProviderError> {
        let record_folder = RecordFolder::new(settings.records());
        Ok(Self {
            drivers: Drivers::new(drivers, settings.default_kind.as_deref())?,
            absent: Vec::new(),
            records: Mutex::new(record_folder.load_all()?),
            record_folder,
            turns: Mutex::default(),
            network: Mutex::new(load_json(&settings.state("network.json"))?),
            // Found when first needed: what is there can be taken down on a host that could not build an image.
            recipes: Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            loaded_firewall: Mutex::default(),
            settings,
        })
    }

    /// Knows of kinds that it does not make, and why.
    pub fn lacking(self, absent: Vec<(Kind, String)>) -> Self {
        Self { absent, ..self }
    }

    /// The chosen network; chosen now if it never was.
    async fn network(&self) -> Result<NetworkChoice, ProviderError> {
        let known = locked(&self.network).clone();
        if let Some(choice) = known {
            return Ok(choice);
        }
        let digest = self.settings.digest();
        let seed = u32::from_str_radix(&digest[..8], 16).unwrap_or_default();
        let choice = host::choose_network(&self.settings.bridge(), seed).await?;
        store_json(&self.settings.state("network.json"), &choice)?;
        Ok(locked(&self.network).get_or_insert(choice).clone())
    }

    fn host_network(&self, choice: NetworkChoice) -> HostNetwork {
        let LocalSettings { user, environment, .. } = &self.settings;
        let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        HostNetwork {
            choice,
            table: format!("encanto_{}_{}_{}", plain(user), plain(environment), &self.settings.digest()[..8]),
            runtime: Path::new("/run/encanto").join(format!("{user}-{environment}-{}", &self.settings.digest()[..8])),
        }
    }

    async fn tell_names(&self) -> Result<(), ProviderError> {
        let choice = locked(&self.network).clone();
        let Some(choice) = choice else { return Ok(()) };
        let _turn = self.publishing.lock().await;
        self.host_network(choice).tell_names(&self.addresses())
    }

    async fn load_firewall(&self, network: &HostNetwork, ports: &[PublishedPort]) -> Result<(), ProviderError> {
        network.load_firewall(ports).await?;
        let listed = network.listed_firewall().await;
        *locked(&self.loaded_firewall) = listed;
        Ok(())
    }

    /// The network as `open` left it.
    fn opened_network(&self) -> Result<NetworkChoice, ProviderError> {
        let choice = locked(&self.network).clone();
        choice.ok_or(ProviderError::NoFreeSubnet { tried: format!("{POOL}: open was not called") })
    }

    /// Kinds that there are instances of.
    fn kinds_in_use(&self) -> BTreeSet<String> {
        locked(&self.records).values().map(|record| record.kind.clone()).collect()
    }

    /// Instances that run. Those of a kind that cannot be asked now count as stopped: whoever starts them is told why.
    async fn running(&self) -> BTreeSet<InstanceName> {
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for kind in self.kinds_in_use() {
            let running = match self.drivers.opened(&kind).await {
                Ok(driver) => driver.running().await,
                Err(error) => Err(error),
            };
            match running {
                Ok(running) => drop(labels.insert(kind, running)),
                Err(error) => tracing::warn!("machines of kind {kind} cannot be seen: {error}"),
            }
        }
        let machines = self.names().into_iter().filter_map(|name| self.machine(&name).ok());
        let runs = |machine: &Machine| {
            labels.get(&machine.record.kind).is_some_and(|running| running.contains(machine.label()))
        };
        machines.filter(runs).map(|machine| machine.name).collect()
    }

    /// Waits until the machine has started what it starts at boot, or long enough.
    async fn services_up(&self, driver: &Arc<dyn Driver>, machine: &Machine) {
        let argv = ["systemctl", "is-system-running", "--wait"].map(str::to_owned).to_vec();
        let request = ExecRequest { argv, timeout: Some(BOOT_LIMIT), ..ExecRequest::default() };
        match driver.exec(machine, request).await {
            Ok(mut execution) => {
                let ended = execution.control.wait().await;
                tracing::debug!("{} has booted: {ended:?}", machine.name);
            }
            Err(error) => tracing::warn!("whether {} has booted cannot be asked: {error}", machine.name),
        }
    }

    /// The layer that all instances of this kind and series stand on, built now if need be.
    async fn provide_image(&self, kind: Option<&str>, series: &str, progress: &Progress) -> Result<(), ProviderError> {
        let flavour = self.drivers.of(kind)?.flavour();
        image::make_private_folder(&self.settings.cache_dir)?;
        self.recipe(flavour, series)?.provide(&self.settings.images(), progress).await
    }

    /// Opens the drivers of the default kind and of those in use. Where there are machines already, a kind that is not
    /// to be had now keeps nobody else from working.
    async fn open_drivers(&self) -> Result<(), ProviderError> {
        let mut kinds = self.kinds_in_use();
        let is_new = kinds.is_empty();
        kinds.insert(self.drivers.of(None)?.kind().name.into());
        for kind in kinds {
            match self.drivers.opened(&kind).await {
                Err(error) if is_new => return Err(error),
                Err(error) => tracing::warn!("machines of kind {kind} cannot be had now: {error}"),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Provider for LocalProvider {
    async fn open(&self, progress: Progress) -> Result<(), ProviderError> {
        self.open_drivers().await?;
        progress("bringing up the network");
        self.mend().await?;
        self.clear_up_copies().await;
        self.provide_image(None, &self.settings.series, &progress).await
    }

    async fn disturbed(&self) -> String {
        self.network_disturbed().await
    }

    async fn mend(&self) -> Result<(), ProviderError> {
        let network = self.host_network(self.network().await?);
        network.bring_up().await?;
        {
            let _turn = self.publishing.lock().await;
            let published: Option<Vec<PublishedPort>> = load_json(&self.settings.state("published.json"))?;
            self.load_firewall(&network, &published.unwrap_or_default()).await?;
            network.serve_names(&self.addresses()).await?;
        }
        self.plug_in().await
    }

    async fn teardown(&self) -> Result<(), ProviderError> {
        let ended: Vec<Result<(), ProviderError>> = stream::iter(self.names())
            .map(|name| async move { self.end(&name).await })
            .buffer_unordered(ENDED_AT_ONCE)
            .collect()
            .await;
        ended.into_iter().collect::<Result<(), _>>()?;
        self.end_strays().await?;
        let choice = locked(&self.network).clone();
        if let Some(choice) = choice {
            let _turn = self.publishing.lock().await;
            self.host_network(choice).take_down().await?;
        }
        image::remove_tree(&self.settings.state_dir.join("lxc"))?;
        locked(&self.network).take();
        Ok(())
    }

    /// Unspecified before [`Provider::open`].
    fn host_address(&self) -> Ipv4Addr {
        locked(&self.network).as_ref().map_or(Ipv4Addr::UNSPECIFIED, NetworkChoice::gateway)
    }

    fn host_hardware(&self) -> Hardware {
        hardware::host_hardware()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.drivers.kinds()
    }

    fn absent_kinds(&self) -> Vec<(Kind, String)> {
        self.absent.clone()
    }

    fn base_key(&self, kind: Option<&str>, series: &str) -> String {
        match self.drivers.of(kind).and_then(|driver| self.recipe(driver.flavour(), series)) {
            Ok(recipe) => recipe.key().to_owned(),
            // `create` tells of the unknown kind or series; until then any key that no layer has will do.
            Err(_) => digest_hex(series.as_bytes()),
        }
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        let network = self.opened_network()?;
        let turn = self.turn(&spec.name).await;
        let template = self.template(spec)?;
        self.drivers.opened(&template.kind).await?;
        self.provide_image(spec.kind.as_deref(), &spec.series, &(Arc::new(|_: &str| {}) as Progress)).await?;
        if let Some(missing) = spec.layers.iter().find(|key| !self.settings.layers().join(key).is_dir()) {
            return Err(ProviderError::NoLayer(missing.clone()));
        }
        self.enrol_new(&spec.name, template, &network).await?;
        self.tell_names().await?;
        let (driver, machine) = self.reach(&spec.name).await?;
        self.end_pause(driver, &machine).await?;
        driver.make(&machine, None).await?;
        driver.begin(&machine, &turn).await?;
        described(driver, &machine).await
    }

    async fn start(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.network().await?;
        let (turn, driver, machine) = self.hold(name).await?;
        if !driver.is_made(&machine).await? {
            return Err(ProviderError::NoInstance(name.clone()));
        }
        driver.begin(&machine, &turn).await?;
        // It ran before, so it has services that others count on; whether one of them failed is not ours to judge.
        self.services_up(driver, &machine).await;
        Ok(())
    }

    async fn ended(&self, name: &InstanceName) {
        if let Ok((driver, machine)) = self.reach(name).await {
            driver.ended(&machine).await;
        }
    }

    async fn stop(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let (_turn, driver, machine) = self.hold(name).await?;
        driver.halt(&machine).await
    }

    async fn destroy(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.end(name).await?;
        self.tell_names().await
    }

    async fn list(&self) -> Result<BTreeMap<InstanceName, InstanceState>, ProviderError> {
        let names = self.names();
        let running = self.running().await;
        let mut states = BTreeMap::new();
        for name in names {
            // One that was deleted by hand is no instance any more, only its record waits for `destroy`. Of a kind that
            // cannot be asked now all are taken to be there.
            let made = match self.reach(&name).await {
                Ok((driver, machine)) => driver.is_made(&machine).await.unwrap_or(true),
                Err(ProviderError::NoInstance(_)) => false,
                Err(_) => true,
            };
            let state = if running.contains(&name) { InstanceState::Running } else { InstanceState::Stopped };
            if made {
                states.insert(name, state);
            }
        }
        Ok(states)
    }

    async fn exec(&self, name: &InstanceName, request: ExecRequest) -> Result<Execution, ProviderError> {
        let (driver, machine) = self.reach(name).await?;
        driver.exec(&machine, request).await
    }

    async fn read_file(&self, name: &InstanceName, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        let (driver, machine) = self.reach(name).await?;
        driver.read_file(&machine, path, limit).await
    }

    async fn write_file(
        &self,
        name: &InstanceName,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError> {
        let (driver, machine) = self.reach(name).await?;
        driver.write_file(&machine, path, content, options).await
    }

    async fn stat_file(&self, name: &InstanceName, path: &str) -> Result<Option<FileStat>, ProviderError> {
        let (driver, machine) = self.reach(name).await?;
        driver.stat_file(&machine, path).await
    }

    async fn remove_file(&self, name: &InstanceName, path: &str) -> Result<(), ProviderError> {
        let (driver, machine) = self.reach(name).await?;
        driver.remove_file(&machine, path).await
    }

    async fn has_layer(&self, key: &LayerKey) -> Result<bool, ProviderError> {
        Ok(self.settings.layers().join(key).is_dir())
    }

    async fn seal(&self, name: &InstanceName, key: &LayerKey) -> Result<(), ProviderError> {
        // A repetition after a crash finds the layer kept and perhaps the instance half gone.
        let layer = self.settings.layers().join(key);
        if !layer.is_dir() {
            let (_turn, driver, machine) = self.hold(name).await?;
            driver.halt(&machine).await?;
            layer::keep_layer(driver.data(&machine), layer).await?;
        }
        self.destroy(name).await
    }

    async fn clone_instance(&self, from: &InstanceName, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        self.clone_to(from, spec).await
    }

    async fn snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<Snapshot, ProviderError> {
        self.take_snapshot(name, snapshot).await
    }

    async fn restore(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        self.restore_snapshot(name, snapshot).await
    }

    async fn drop_snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        self.remove_snapshot(name, snapshot).await
    }

    async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>, ProviderError> {
        self.list_snapshots(name).await
    }

    async fn console(&self, name: &InstanceName, terminal: (u16, u16)) -> Result<Execution, ProviderError> {
        let (driver, machine) = self.reach(name).await?;
        driver.console(&machine, terminal).await
    }

    async fn foreign(&self) -> Result<Vec<Foreign>, ProviderError> {
        self.find_foreign().await
    }

    async fn inspect(&self, folder: &Path) -> Result<Foreign, ProviderError> {
        self.look_into(folder)
    }

    async fn adopt(&self, spec: &InstanceSpec, origin: &Origin) -> Result<Instance, ProviderError> {
        self.adopt_as(spec, origin).await
    }

    async fn release(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.release_machine(name).await
    }

    async fn publish(&self, ports: &[PublishedPort]) -> Result<(), ProviderError> {
        let choice = self.network().await?;
        let _turn = self.publishing.lock().await;
        self.load_firewall(&self.host_network(choice), ports).await?;
        // For `open` after a reboot. The caller's next call would mend it anyway.
        store_json(&self.settings.state("published.json"), &ports)
    }
}

/// What a created instance is like, for whoever asked for it.
async fn described(driver: &Arc<dyn Driver>, machine: &Machine) -> Result<Instance, ProviderError> {
    let hardware = driver.hardware(machine).await?;
    Ok(Instance { name: machine.name.clone(), address: machine.record.address, hardware })
}

/// A panic elsewhere leaves plain maps as they were, which is all that is kept behind these locks.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SHA-256 in lower-case hex.
pub(super) fn digest_hex(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
