//! Machines as unprivileged LXC system containers.
//!
//! - [`helper`] runs in a process of its own: it enters machines and mounts their roots.
//! - [`instance`] makes, starts, stops and ends containers, one call at a time each ([`turn`]); [`init`] is what runs in
//!   them; [`record`] is what is remembered of each.
//! - [`image`] builds the base image; [`apt`] finds its sources.
//! - [`host`] does and [`network`] decides what concerns bridge, names and firewall. [`disturbance`] sees what others do
//!   to them; [`cable`] is what machines hang on.
//! - [`exec`] is the controller's side of the helper.
//!
//! # Guarantees
//! On disk everything is unshifted; ids are shifted by idmapped mounts only. The folders that hold it are closed to all
//! but root. Containers, bridge, firewall and name server survive the end of the controller, `kill -9` included.
//!
//! # Limits
//! All machines of a host share root's first id range of `/etc/subuid`. Commands that are entered run without LXC's
//! seccomp filter; the user namespace is the boundary.

mod apt;
mod cable;
mod config;
mod disturbance;
pub mod driver;
mod exec;
pub mod helper;
mod host;
pub(super) mod idmap;
mod image;
mod init;
mod instance;
mod network;
mod record;
mod turn;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};

use self::host::HostNetwork;
use self::image::ImageRecipe;
use self::init::Init;
use self::network::{NetworkChoice, POOL};
use self::record::{InstanceRecord, RecordFolder, load_json, store_json};
use self::turn::Turn;
use super::{
    ExecRequest, Execution, FileStat, Hardware, Instance, InstanceName, InstanceSpec, InstanceState, Kind, LayerKey,
    Progress, Provider, ProviderError, PublishedPort, WriteOptions,
};
use crate::model::MachineId;

pub const KIND: Kind = Kind { name: "lxc", noun: "LXC container", container: "lxc", caution: None };

/// How many instances are ended at the same time.
const ENDED_AT_ONCE: usize = 8;

/// What an LXC provider needs to know.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    pub user: String,
    pub environment: String,
    /// Folder of this environment; the provider keeps its own in `lxc/` below it.
    pub state_dir: PathBuf,
    /// Images and layers, shared by all environments of the host.
    pub cache_dir: PathBuf,
    /// LXC's own path, absolute. The default lets `lxc-ls` show the machines.
    pub lxc_path: PathBuf,
    /// Executable that calls [`helper::run_if_asked`] first in its `main`.
    pub helper: PathBuf,
    /// Debian archive to use instead of the host's.
    pub mirror: Option<String>,
    /// Release whose image [`Provider::open`] builds; others are built when first needed.
    pub series: String,
}

impl LocalSettings {
    pub fn new(user: impl Into<String>, environment: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            user: user.into(),
            environment: environment.into(),
            state_dir: state_dir.into(),
            cache_dir: "/var/cache/encanto".into(),
            lxc_path: "/var/lib/lxc".into(),
            helper: "/proc/self/exe".into(),
            mirror: None,
            series: "bookworm".into(),
        }
    }

    /// What machines' names begin with; the machine's tag follows, e.g. `machine-3`.
    pub fn prefix(&self) -> String {
        format!("{}-{}-", self.user, self.environment)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.state_dir.join("lxc").join(name)
    }

    /// Short and unique on the host, for names that the kernel limits.
    fn digest(&self) -> String {
        digest_hex(format!("{}\n{}\n{}", self.user, self.environment, self.state_dir.display()).as_bytes())
    }
}

/// The LXC hypervisor behind one environment.
pub struct LocalProvider {
    settings: LocalSettings,
    record_folder: RecordFolder,
    records: Mutex<BTreeMap<InstanceName, InstanceRecord>>,
    /// One at a time for each instance. Never removed: someone may wait for one.
    turns: Mutex<BTreeMap<InstanceName, Arc<tokio::sync::Mutex<()>>>>,
    inits: Mutex<BTreeMap<InstanceName, Arc<Init>>>,
    network: Mutex<Option<NetworkChoice>>,
    recipes: Mutex<BTreeMap<String, ImageRecipe>>,
    /// Orders the changes of the firewall and of the hosts file.
    publishing: tokio::sync::Mutex<()>,
    /// The firewall table as the kernel listed it after it was loaded.
    loaded_firewall: Mutex<Option<Vec<u8>>>,
}

impl LocalProvider {
    /// Reads what an earlier run left; changes nothing.
    pub fn new(settings: LocalSettings) -> Result<Self, ProviderError> {
        let record_folder = RecordFolder::new(settings.state("instances"));
        Ok(Self {
            records: Mutex::new(record_folder.load_all()?),
            record_folder,
            turns: Mutex::default(),
            inits: Mutex::default(),
            network: Mutex::new(load_json(&settings.state("network.json"))?),
            // Found when first needed: what is there can be taken down on a host that could not build an image.
            recipes: Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            loaded_firewall: Mutex::default(),
            settings,
        })
    }

    fn recipe(&self, series: &str) -> Result<ImageRecipe, ProviderError> {
        if let Some(recipe) = locked(&self.recipes).get(series) {
            return Ok(recipe.clone());
        }
        let recipe = ImageRecipe::for_host(series, self.settings.mirror.as_deref())?;
        locked(&self.recipes).insert(series.into(), recipe.clone());
        Ok(recipe)
    }

    /// The chosen network; chosen now if it never was.
    async fn network(&self) -> Result<NetworkChoice, ProviderError> {
        let known = locked(&self.network).clone();
        if let Some(choice) = known {
            return Ok(choice);
        }
        let digest = self.settings.digest();
        let seed = u32::from_str_radix(&digest[..8], 16).unwrap_or_default();
        let choice = host::choose_network(&format!("enc{}", &digest[..8]), seed).await?;
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

    fn record(&self, name: &InstanceName) -> Result<InstanceRecord, ProviderError> {
        locked(&self.records).get(name).cloned().ok_or_else(|| ProviderError::NoInstance(name.clone()))
    }

    /// The instance's record, made with the lowest free address if there is none.
    fn enrol(&self, spec: &InstanceSpec, network: &NetworkChoice) -> Result<InstanceRecord, ProviderError> {
        let image = self.recipe(&spec.series)?.name();
        let mut records = locked(&self.records);
        if let Some(record) = records.get(&spec.name) {
            return Ok(record.clone());
        }
        let taken: BTreeSet<Ipv4Addr> = records.values().map(|record| record.address).collect();
        let address = network
            .free_address(&taken)
            .ok_or_else(|| ProviderError::NoFreeAddress { subnet: network.subnet.to_string() })?;
        let InstanceSpec { layers, memory, cores, build, .. } = spec.clone();
        let record =
            InstanceRecord { kind: KIND.name.into(), address, image, layers, memory, cores, build, origin: None };
        self.record_folder.store(&spec.name, &record)?;
        records.insert(spec.name.clone(), record.clone());
        Ok(record)
    }

    fn strike_off(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.record_folder.remove(name)?;
        locked(&self.records).remove(name);
        locked(&self.inits).remove(name);
        Ok(())
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

    fn addresses(&self) -> BTreeMap<InstanceName, Ipv4Addr> {
        locked(&self.records).iter().map(|(name, record)| (name.clone(), record.address)).collect()
    }

    /// Waits until nobody else works on the instance.
    async fn turn(&self, name: &InstanceName) -> Turn {
        let turn = locked(&self.turns).entry(name.clone()).or_default().clone();
        Arc::new(turn.lock_owned().await)
    }

    fn image_folder(&self, record: &InstanceRecord) -> PathBuf {
        self.settings.cache_dir.join("images").join(&record.image)
    }

    fn layer_folder(&self, key: &str) -> PathBuf {
        self.settings.cache_dir.join("layers").join(key)
    }

    /// Machines of this environment that have no record: their state folder was lost.
    fn strays(&self) -> Result<Vec<InstanceName>, ProviderError> {
        let prefix = self.settings.prefix();
        let entries = record::folder_entries(&self.settings.lxc_path)?;
        let ours = |entry: &&String| entry.strip_prefix(&prefix).and_then(MachineId::from_tag).is_some();
        entries.iter().filter(ours).map(|entry| InstanceName::new(entry.as_str())).collect()
    }
}

#[async_trait]
impl Provider for LocalProvider {
    async fn open(&self, progress: Progress) -> Result<(), ProviderError> {
        instance::first_id()?;
        progress("bringing up the network");
        self.mend().await?;
        let images = self.settings.cache_dir.join("images");
        image::make_private_folder(&self.settings.cache_dir)?;
        self.recipe(&self.settings.series)?.provide(&images, &progress).await
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
        self.plug_in(&network.choice).await
    }

    async fn teardown(&self) -> Result<(), ProviderError> {
        let mut names: BTreeSet<InstanceName> = locked(&self.records).keys().cloned().collect();
        names.extend(self.strays()?);
        let ended: Vec<Result<(), ProviderError>> = stream::iter(names)
            .map(|name| async move { self.end(&name).await })
            .buffer_unordered(ENDED_AT_ONCE)
            .collect()
            .await;
        ended.into_iter().collect::<Result<(), _>>()?;
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
        instance::host_hardware()
    }

    fn kinds(&self) -> Vec<Kind> {
        vec![KIND]
    }

    fn base_key(&self, _kind: Option<&str>, series: &str) -> String {
        match self.recipe(series) {
            Ok(recipe) => recipe.key().to_owned(),
            // `create` tells of the unknown series; until then any key that no layer has will do.
            Err(_) => digest_hex(series.as_bytes()),
        }
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        let choice = locked(&self.network).clone();
        let network = choice.ok_or(ProviderError::NoFreeSubnet { tried: format!("{POOL}: open was not called") })?;
        let turn = self.turn(&spec.name).await;
        let recipe = self.recipe(&spec.series)?;
        let images = self.settings.cache_dir.join("images");
        recipe.provide(&images, &(Arc::new(|_: &str| {}) as Progress)).await?;
        if let Some(missing) = spec.layers.iter().find(|key| !self.layer_folder(key).is_dir()) {
            return Err(ProviderError::NoLayer(missing.clone()));
        }
        let record = self.enrol(spec, &network)?;
        self.tell_names().await?;
        self.make(&spec.name, &record)?;
        self.begin(&spec.name, &record, (&network, &turn)).await?;
        Ok(Instance { name: spec.name.clone(), address: record.address, hardware: instance::limited_hardware(&record) })
    }

    async fn start(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let turn = self.turn(name).await;
        let record = self.record(name)?;
        let network = self.network().await?;
        if !self.is_made(name) {
            return Err(ProviderError::NoInstance(name.clone()));
        }
        self.begin(name, &record, (&network, &turn)).await?;
        // It ran before, so it has services that others count on; whether one of them failed is not ours to judge.
        self.services_up(name).await;
        Ok(())
    }

    async fn ended(&self, name: &InstanceName) {
        self.wait_end(name).await;
    }

    async fn stop(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let _turn = self.turn(name).await;
        self.record(name)?;
        self.halt(name).await
    }

    async fn destroy(&self, name: &InstanceName) -> Result<(), ProviderError> {
        if locked(&self.records).contains_key(name) {
            self.end(name).await?;
        }
        self.tell_names().await
    }

    async fn list(&self) -> Result<BTreeMap<InstanceName, InstanceState>, ProviderError> {
        let names: Vec<InstanceName> = locked(&self.records).keys().cloned().collect();
        let running = self.running()?;
        let state = |name: &InstanceName| match running.contains(name.as_str()) {
            true => InstanceState::Running,
            false => InstanceState::Stopped,
        };
        // One whose container was deleted by hand is no instance any more, only its record waits for `destroy`.
        Ok(names.into_iter().filter(|name| self.is_made(name)).map(|name| (name.clone(), state(&name))).collect())
    }

    async fn exec(&self, name: &InstanceName, request: ExecRequest) -> Result<Execution, ProviderError> {
        let init = self.init(name).await?;
        exec::start(&self.settings.helper, name, init.pid, request).await
    }

    async fn read_file(&self, name: &InstanceName, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        let init = self.init(name).await?;
        self.files(name, &init).read(path, limit).await
    }

    async fn write_file(
        &self,
        name: &InstanceName,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError> {
        let init = self.init(name).await?;
        self.files(name, &init).write(path, content, options).await
    }

    async fn stat_file(&self, name: &InstanceName, path: &str) -> Result<Option<FileStat>, ProviderError> {
        let init = self.init(name).await?;
        self.files(name, &init).stat(path).await
    }

    async fn remove_file(&self, name: &InstanceName, path: &str) -> Result<(), ProviderError> {
        let init = self.init(name).await?;
        self.files(name, &init).remove(path).await
    }

    async fn has_layer(&self, key: &LayerKey) -> Result<bool, ProviderError> {
        Ok(self.layer_folder(key).is_dir())
    }

    async fn seal(&self, name: &InstanceName, key: &LayerKey) -> Result<(), ProviderError> {
        // A repetition after a crash finds the layer kept and perhaps the instance half gone.
        if !self.layer_folder(key).is_dir() {
            let _turn = self.turn(name).await;
            self.record(name)?;
            self.halt(name).await?;
            self.keep_layer(name, key).await?;
        }
        self.destroy(name).await
    }

    async fn publish(&self, ports: &[PublishedPort]) -> Result<(), ProviderError> {
        let choice = self.network().await?;
        let _turn = self.publishing.lock().await;
        self.load_firewall(&self.host_network(choice), ports).await?;
        // For `open` after a reboot. The caller's next call would mend it anyway.
        store_json(&self.settings.state("published.json"), &ports)
    }
}

/// A panic elsewhere leaves plain maps as they were, which is all that is kept behind these locks.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SHA-256 in lower-case hex.
fn digest_hex(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
