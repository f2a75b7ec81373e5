//! The provider in memory: for fast tests and for planning.
//!
//! It keeps state as a real one does, needs no rights and no I/O, and can be told to fail, to lose a machine behind the
//! controller's back, and what commands shall answer. Thousands of instances are cheap.

mod control;
mod copies;
mod exec;
mod files;
mod foreign;
mod kinds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{
    ExecRequest, Execution, FileStat, Foreign, Hardware, Instance, InstanceName, InstanceSpec, InstanceState, Kind,
    LayerKey, Origin, Progress, Provider, ProviderError, PublishedPort, Snapshot, WriteOptions,
};

use files::Files;
use kinds::Kinds;

pub use exec::ExecScript;

/// The first address that an instance gets; each further one gets the next free.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Calls that are remembered: an environment may be simulated for years.
const CALLS_KEPT: usize = 10_000;

/// A call as tests see it, in order: its kind (the method's name) and its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedCall {
    pub kind: &'static str,
    pub instance: Option<InstanceName>,
}

type Answer = Arc<dyn Fn(&InstanceName, &ExecRequest) -> ExecScript + Send + Sync>;

#[derive(Debug)]
struct SimulatedInstance {
    spec: InstanceSpec,
    address: Ipv4Addr,
    state: InstanceState,
    files: Files,
    /// By age.
    snapshots: Vec<(Snapshot, Files)>,
    /// What an adopted one was before.
    origin: Option<Origin>,
    /// Told when it stops or goes.
    ended: Arc<Notify>,
}

#[derive(Default)]
struct World {
    open: bool,
    kinds: Kinds,
    instances: BTreeMap<InstanceName, SimulatedInstance>,
    layers: BTreeMap<LayerKey, Files>,
    others: foreign::Others,
    published: Vec<PublishedPort>,
    /// What somebody did to the network, and the ports that were published before.
    damage: Option<(String, Vec<PublishedPort>)>,
    failures: BTreeMap<String, VecDeque<Failure>>,
    answer: Option<Answer>,
    calls: VecDeque<SimulatedCall>,
    latency: Duration,
    /// Addresses that were given back, and how many were ever given out: the lowest free one without a search.
    freed: BTreeSet<Ipv4Addr>,
    given: u32,
    /// Kinds of calls that do not come back.
    held: BTreeSet<String>,
}

struct Failure {
    /// Calls of the kind that still succeed before.
    after: usize,
    words: String,
}

/// A hypervisor that only remembers.
#[derive(Default)]
pub struct SimulatedProvider {
    world: Mutex<World>,
    /// Told when the network is damaged.
    damaged: Notify,
    /// Told when a kind of call is let go.
    let_go: Notify,
}

impl SimulatedProvider {
    pub fn new() -> Self {
        Self::default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call begins here: it is noted, takes its time, and fails if it was told to.
    async fn begin(&self, kind: &'static str, instance: Option<&InstanceName>) -> Result<(), ProviderError> {
        let (latency, failure) = {
            let mut world = self.world();
            world.calls.push_back(SimulatedCall { kind, instance: instance.cloned() });
            if world.calls.len() > CALLS_KEPT {
                world.calls.pop_front();
            }
            (world.latency, world.due_failure(kind))
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        loop {
            let mut change = std::pin::pin!(self.let_go.notified());
            change.as_mut().enable();
            if !self.world().held.contains(kind) {
                break;
            }
            change.await;
        }
        failure.map_or(Ok(()), |words| Err(ProviderError::Simulated(words)))
    }
}

impl World {
    fn due_failure(&mut self, kind: &str) -> Option<String> {
        let queue = self.failures.get_mut(kind)?;
        let first = queue.front_mut()?;
        if first.after > 0 {
            first.after -= 1;
            return None;
        }
        queue.pop_front().map(|failure| failure.words)
    }

    fn instance(&mut self, name: &InstanceName) -> Result<&mut SimulatedInstance, ProviderError> {
        self.instances.get_mut(name).ok_or_else(|| ProviderError::NoInstance(name.clone()))
    }

    fn running(&mut self, name: &InstanceName) -> Result<&mut SimulatedInstance, ProviderError> {
        let instance = self.instance(name)?;
        match instance.state {
            InstanceState::Running => Ok(instance),
            InstanceState::Stopped => Err(ProviderError::NotRunning { name: name.clone() }),
        }
    }

    fn free_address(&mut self) -> Ipv4Addr {
        self.freed.pop_first().unwrap_or_else(|| {
            self.given += 1;
            Ipv4Addr::from(u32::from(FIRST_ADDRESS) + self.given - 1)
        })
    }

    fn remove(&mut self, name: &InstanceName) -> Option<SimulatedInstance> {
        let removed = self.instances.remove(name)?;
        self.freed.insert(removed.address);
        removed.ended.notify_waiters();
        Some(removed)
    }
}

fn hardware(spec: &InstanceSpec) -> Hardware {
    let host = host_hardware();
    Hardware {
        cores: spec.cores.map_or(host.cores, |cores| cores.min(host.cores)),
        memory: spec.memory.map_or(host.memory, |memory| memory.min(host.memory)),
        arch: host.arch,
    }
}

fn host_hardware() -> Hardware {
    Hardware { arch: "amd64".into(), cores: 4, memory: 8192 }
}

#[async_trait]
impl Provider for SimulatedProvider {
    async fn open(&self, progress: Progress) -> Result<(), ProviderError> {
        self.begin("open", None).await?;
        progress("opening the simulated provider");
        let mut world = self.world();
        world.open = true;
        if let Some((_, before)) = world.damage.take() {
            world.published = before;
        }
        Ok(())
    }

    async fn disturbed(&self) -> String {
        loop {
            let mut change = std::pin::pin!(self.damaged.notified());
            change.as_mut().enable();
            let damage = self.world().damage.as_ref().map(|(words, _)| words.clone());
            if let Some(words) = damage {
                return words;
            }
            change.await;
        }
    }

    async fn mend(&self) -> Result<(), ProviderError> {
        self.begin("mend", None).await?;
        let mut world = self.world();
        if let Some((_, before)) = world.damage.take() {
            world.published = before;
        }
        Ok(())
    }

    async fn teardown(&self) -> Result<(), ProviderError> {
        self.begin("teardown", None).await?;
        let mut world = self.world();
        let names: Vec<InstanceName> = world.instances.keys().cloned().collect();
        names.iter().for_each(|name| world.give_back_or_remove(name));
        world.published.clear();
        world.open = false;
        Ok(())
    }

    fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, 1)
    }

    fn host_hardware(&self) -> Hardware {
        host_hardware()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.world().kinds.made()
    }

    fn absent_kinds(&self) -> Vec<(Kind, String)> {
        self.world().kinds.absent()
    }

    fn base_key(&self, kind: Option<&str>, series: &str) -> String {
        Kinds::base_key(kind, series)
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        self.begin("create", Some(&spec.name)).await?;
        let mut world = self.world();
        let mut files = Files::new();
        for key in &spec.layers {
            let layer = world.layers.get(key).ok_or_else(|| ProviderError::NoLayer(key.clone()))?;
            files.extend(layer.iter().map(|(path, file)| (path.clone(), file.clone())));
        }
        if !world.instances.contains_key(&spec.name) {
            world.kinds.check(spec.kind.as_deref())?;
            let (address, ended) = (world.free_address(), Arc::default());
            let (state, origin) = (InstanceState::Running, None);
            let snapshots = Vec::new();
            let made = SimulatedInstance { spec: spec.clone(), address, state, files, snapshots, origin, ended };
            world.instances.insert(spec.name.clone(), made);
        }
        let instance = world.instance(&spec.name)?;
        instance.state = InstanceState::Running;
        Ok(Instance { name: spec.name.clone(), address: instance.address, hardware: hardware(&instance.spec) })
    }

    async fn start(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.begin("start", Some(name)).await?;
        self.world().instance(name)?.state = InstanceState::Running;
        Ok(())
    }

    async fn stop(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.begin("stop", Some(name)).await?;
        let mut world = self.world();
        let instance = world.instance(name)?;
        instance.state = InstanceState::Stopped;
        instance.ended.notify_waiters();
        Ok(())
    }

    async fn ended(&self, name: &InstanceName) {
        loop {
            let running = |instance: &&SimulatedInstance| instance.state == InstanceState::Running;
            let ended = self.world().instances.get(name).filter(running).map(|instance| instance.ended.clone());
            let Some(ended) = ended else { return };
            let mut change = std::pin::pin!(ended.notified());
            change.as_mut().enable();
            // It may have ended before the watch began.
            if self.world().instances.get(name).filter(running).is_none() {
                return;
            }
            change.await;
        }
    }

    async fn destroy(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.begin("destroy", Some(name)).await?;
        self.world().give_back_or_remove(name);
        Ok(())
    }

    async fn list(&self) -> Result<BTreeMap<InstanceName, InstanceState>, ProviderError> {
        self.begin("list", None).await?;
        Ok(self.world().instances.iter().map(|(name, instance)| (name.clone(), instance.state)).collect())
    }

    async fn exec(&self, name: &InstanceName, request: ExecRequest) -> Result<Execution, ProviderError> {
        self.begin("exec", Some(name)).await?;
        let (answer, address) = {
            let mut world = self.world();
            let address = world.running(name)?.address;
            (world.answer.clone(), address)
        };
        // Called without the lock: an answer may look into the provider.
        let script = match answer {
            Some(answer) => answer(name, &request),
            None => ExecScript::plain(&request, address),
        };
        Ok(script.execution(request.timeout))
    }

    async fn read_file(&self, name: &InstanceName, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        self.begin("read_file", Some(name)).await?;
        let mut world = self.world();
        let instance = world.running(name)?;
        let no_file = || ProviderError::NoFile { name: name.clone(), path: path.into() };
        let file = instance.files.get(path).ok_or_else(no_file)?;
        if file.content.len() as u64 > limit {
            return Err(ProviderError::FileTooLarge { name: name.clone(), path: path.into(), limit });
        }
        Ok(file.content.clone())
    }

    async fn write_file(
        &self,
        name: &InstanceName,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError> {
        self.begin("write_file", Some(name)).await?;
        let mut world = self.world();
        let instance = world.running(name)?;
        files::write(&mut instance.files, path, content, options);
        Ok(())
    }

    async fn stat_file(&self, name: &InstanceName, path: &str) -> Result<Option<FileStat>, ProviderError> {
        self.begin("stat_file", Some(name)).await?;
        Ok(files::stat(&self.world().running(name)?.files, path))
    }

    async fn remove_file(&self, name: &InstanceName, path: &str) -> Result<(), ProviderError> {
        self.begin("remove_file", Some(name)).await?;
        files::remove(&mut self.world().running(name)?.files, path);
        Ok(())
    }

    async fn has_layer(&self, key: &LayerKey) -> Result<bool, ProviderError> {
        self.begin("has_layer", None).await?;
        Ok(self.world().layers.contains_key(key))
    }

    async fn seal(&self, name: &InstanceName, key: &LayerKey) -> Result<(), ProviderError> {
        self.begin("seal", Some(name)).await?;
        let mut world = self.world();
        match world.remove(name) {
            Some(instance) => {
                world.layers.entry(key.clone()).or_insert(instance.files);
                Ok(())
            }
            // A repetition after a crash.
            None if world.layers.contains_key(key) => Ok(()),
            None => Err(ProviderError::NoInstance(name.clone())),
        }
    }

    async fn foreign(&self) -> Result<Vec<Foreign>, ProviderError> {
        self.begin("foreign", None).await?;
        Ok(self.world().foreign())
    }

    async fn inspect(&self, folder: &Path) -> Result<Foreign, ProviderError> {
        self.begin("inspect", None).await?;
        self.world().others.inspect(folder)
    }

    async fn adopt(&self, spec: &InstanceSpec, origin: &Origin) -> Result<Instance, ProviderError> {
        self.begin("adopt", Some(&spec.name)).await?;
        self.world().adopt(spec, origin)
    }

    async fn release(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.begin("release", Some(name)).await?;
        self.world().release(name)
    }

    async fn clone_instance(&self, from: &InstanceName, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        self.begin("clone", Some(&spec.name)).await?;
        self.world().copy(from, spec)
    }

    async fn snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<Snapshot, ProviderError> {
        self.begin("snapshot", Some(name)).await?;
        self.world().keep(name, snapshot)
    }

    async fn restore(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        self.begin("restore", Some(name)).await?;
        self.world().give_back(name, snapshot)
    }

    async fn drop_snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        self.begin("drop_snapshot", Some(name)).await?;
        self.world().with_own_disk(name)?.snapshots.retain(|(kept, _)| kept.name != snapshot);
        Ok(())
    }

    async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>, ProviderError> {
        self.begin("snapshots", Some(name)).await?;
        Ok(self.world().with_own_disk(name)?.snapshots.iter().map(|(kept, _)| kept.clone()).collect())
    }

    async fn console(&self, name: &InstanceName, terminal: (u16, u16)) -> Result<Execution, ProviderError> {
        self.begin("console", Some(name)).await?;
        self.world().running(name)?;
        Ok(ExecScript::console(name, terminal).execution(None))
    }

    async fn publish(&self, ports: &[PublishedPort]) -> Result<(), ProviderError> {
        self.begin("publish", None).await?;
        let mut world = self.world();
        world.published = ports.to_vec();
        // Mending brings back what was wanted last.
        if let Some((_, before)) = &mut world.damage {
            *before = ports.to_vec();
        }
        Ok(())
    }
}
