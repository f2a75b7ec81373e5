//! Machines on another host.
//!
//! The whole [`Provider`] is spoken over the standard streams of this very binary, which `ssh` starts over there in a
//! hidden mode. There it makes the same provider with the same drivers as on its own host, and so everything is as it is
//! here: kinds, images, layers, addresses, firewall, mending, copies. Nothing of it is written a second time.
//!
//! - [`protocol`] is what is said, [`wire`] how streams share a connection.
//! - [`client`] is one connection seen from here, [`server`] seen from there.
//! - [`ssh`] makes connections; [`there`] is the hidden mode.
//!
//! # Guarantees
//! A connection is made when it is first needed, and again after it broke. When it breaks, or this process ends, all
//! commands that ran over it are killed, and machines go on. A call that was cut off may be repeated, as any call of a
//! provider may.

pub mod client;
pub mod protocol;
pub mod server;
pub mod ssh;
pub mod there;
mod wire;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use self::client::{Client, Line, greet};
use self::protocol::{Call, Errand, Facts, Place, WireKind};
use super::command::replace_file;
use super::{
    ExecRequest, Execution, FileStat, Foreign, Hardware, Instance, InstanceName, InstanceSpec, InstanceState, Kind,
    LayerKey, Origin, Progress, Provider, ProviderError, PublishedPort, Snapshot, WriteOptions,
};

/// What both ends must be.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Until a connection is tried again for somebody who only watches; doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Makes lines to the other host.
#[async_trait]
pub trait Connector: Send + Sync {
    /// As an operator names it.
    fn host(&self) -> &str;

    /// # Errors
    /// The other host cannot be reached: why, and what to do.
    async fn connect(&self) -> Result<Line, ProviderError>;
}

/// An environment on another host.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    pub place: Place,
    /// Here: says, from before the first machine until all are gone, that there may be machines over there.
    pub mark: PathBuf,
}

pub struct RemoteProvider {
    connector: Box<dyn Connector>,
    settings: RemoteSettings,
    facts: Arc<Mutex<Facts>>,
    connection: tokio::sync::Mutex<Connection>,
    /// Attempts to connect that have ended.
    attempts: AtomicU64,
    /// Changes with each new connection.
    connected: watch::Sender<()>,
}

#[derive(Default)]
struct Connection {
    client: Option<Arc<Client>>,
    /// Why the last attempt failed.
    failure: Option<(String, Option<String>)>,
}

impl RemoteProvider {
    /// Does nothing yet. Until the first connection the other host is taken to be like this one, with these kinds, the
    /// default first.
    pub fn new(
        connector: Box<dyn Connector>,
        settings: RemoteSettings,
        kinds: (Vec<Kind>, Vec<(Kind, String)>),
    ) -> Self {
        let (made, absent) = kinds;
        let facts = Facts {
            address: Ipv4Addr::UNSPECIFIED,
            hardware: super::local::hardware::host_hardware(),
            kinds: made.into_iter().map(WireKind::from).collect(),
            absent: absent.into_iter().map(|(kind, why)| (kind.into(), why)).collect(),
            base_keys: Vec::new(),
        };
        Self {
            connector,
            settings,
            facts: Arc::new(Mutex::new(facts)),
            connection: tokio::sync::Mutex::default(),
            attempts: AtomicU64::new(0),
            connected: watch::channel(()).0,
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, made now if need be. Those who wait while one attempt fails are all told of it, and do not try
    /// one after the other.
    async fn client(&self) -> Result<Arc<Client>, ProviderError> {
        let before = self.attempts.load(Ordering::Acquire);
        let mut connection = self.connection.lock().await;
        if let Some(client) = connection.client.as_ref().filter(|client| !client.is_lost()) {
            return Ok(client.clone());
        }
        if self.attempts.load(Ordering::Acquire) != before
            && let Some((words, remedy)) = connection.failure.clone()
        {
            return Err(ProviderError::Remote { words, remedy });
        }
        connection.client = None;
        let made = self.connect().await;
        self.attempts.fetch_add(1, Ordering::Release);
        match made {
            Ok(client) => {
                *connection = Connection { client: Some(client.clone()), failure: None };
                self.connected.send_replace(());
                Ok(client)
            }
            Err(error) => {
                connection.failure = Some((error.to_string(), error.remedy()));
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Arc<Client>, ProviderError> {
        let mut line = self.connector.connect().await?;
        let facts = greet(&mut line, Errand::Serve(self.settings.place.clone())).await?;
        let facts: Facts = serde_json::from_value(facts)
            .map_err(|error| ProviderError::Remote { words: error.to_string(), remedy: None })?;
        *self.facts() = facts;
        Ok(Client::begin(line, self.facts.clone()))
    }

    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, ProviderError> {
        self.client().await?.call(&call).await
    }

    /// From now on there may be machines over there.
    fn mark(&self) -> Result<(), ProviderError> {
        if self.settings.mark.exists() { Ok(()) } else { replace_file(&self.settings.mark, b"") }
    }
}

#[async_trait]
impl Provider for RemoteProvider {
    async fn open(&self, progress: Progress) -> Result<(), ProviderError> {
        progress("connecting to the other host");
        self.client().await?.call_telling(&Call::Open, Some(progress)).await
    }

    async fn teardown(&self) -> Result<(), ProviderError> {
        self.call::<()>(Call::Teardown).await?;
        // What served us has nothing left to serve from.
        self.connection.lock().await.client = None;
        super::local::record::absent_is_fine(std::fs::remove_file(&self.settings.mark))
            .map_err(|source| ProviderError::Io { action: "remove", path: self.settings.mark.clone(), source })
    }

    /// A lost connection is damage, too; [`Provider::mend`] makes a new one.
    async fn disturbed(&self) -> String {
        match self.client().await {
            Ok(client) => match client.call(&Call::Disturbed).await {
                Ok(words) => words,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        }
    }

    async fn mend(&self) -> Result<(), ProviderError> {
        self.call(Call::Mend).await
    }

    fn elsewhere(&self) -> Option<String> {
        Some(self.connector.host().to_owned())
    }

    fn host_address(&self) -> Ipv4Addr {
        self.facts().address
    }

    fn host_hardware(&self) -> Hardware {
        self.facts().hardware.clone()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.facts().kinds.iter().map(WireKind::kind).collect()
    }

    fn absent_kinds(&self) -> Vec<(Kind, String)> {
        self.facts().absent.iter().map(|(kind, why)| (kind.kind(), why.clone())).collect()
    }

    fn base_key(&self, kind: Option<&str>, series: &str) -> String {
        let facts = self.facts();
        let default = facts.kinds.first().map(WireKind::kind);
        let kind = kind.or(default.as_ref().map(|kind| kind.name)).unwrap_or_default();
        let known = facts.base_keys.iter().find(|(known, of, _)| known == kind && of == series);
        // `create` tells of the unknown kind or series; until then any key that no layer has will do.
        known.map_or_else(|| format!("unknown-{kind}-{series}"), |(_, _, key)| key.clone())
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        self.mark()?;
        self.call(Call::Create(spec.clone())).await
    }

    async fn start(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.call(Call::Start(name.clone())).await
    }

    async fn stop(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.call(Call::Stop(name.clone())).await
    }

    /// What happens to the machine while the connection is lost is seen when there is one again.
    async fn ended(&self, name: &InstanceName) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut connected = self.connected.subscribe();
            if let Ok(client) = self.client().await {
                match client.call(&Call::Ended(name.clone())).await {
                    Ok(()) => return,
                    Err(_) if client.is_lost() => pause = FIRST_PAUSE,
                    Err(error) => tracing::warn!("whether {name} runs cannot be asked: {error}"),
                }
            }
            // Somebody else may make the connection meanwhile.
            let _ = tokio::time::timeout(pause, connected.changed()).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn destroy(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.call(Call::Destroy(name.clone())).await
    }

    async fn list(&self) -> Result<BTreeMap<InstanceName, InstanceState>, ProviderError> {
        self.call(Call::List).await
    }

    async fn exec(&self, name: &InstanceName, request: ExecRequest) -> Result<Execution, ProviderError> {
        self.client().await?.begin_command(&Call::Exec(name.clone(), request)).await
    }

    async fn read_file(&self, name: &InstanceName, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        let call = Call::ReadFile { name: name.clone(), path: path.into(), limit };
        self.client().await?.receive_content(&call).await
    }

    async fn write_file(
        &self,
        name: &InstanceName,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError> {
        let call = Call::WriteFile { name: name.clone(), path: path.into(), options: options.clone() };
        self.client().await?.send_content(&call, content).await
    }

    async fn stat_file(&self, name: &InstanceName, path: &str) -> Result<Option<FileStat>, ProviderError> {
        self.call(Call::StatFile { name: name.clone(), path: path.into() }).await
    }

    async fn remove_file(&self, name: &InstanceName, path: &str) -> Result<(), ProviderError> {
        self.call(Call::RemoveFile { name: name.clone(), path: path.into() }).await
    }

    async fn has_layer(&self, key: &LayerKey) -> Result<bool, ProviderError> {
        self.call(Call::HasLayer(key.clone())).await
    }

    async fn seal(&self, name: &InstanceName, key: &LayerKey) -> Result<(), ProviderError> {
        self.call(Call::Seal(name.clone(), key.clone())).await
    }

    async fn clone_instance(&self, from: &InstanceName, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        self.mark()?;
        self.call(Call::Clone { from: from.clone(), spec: spec.clone() }).await
    }

    async fn snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<Snapshot, ProviderError> {
        self.call(Call::Snapshot(name.clone(), snapshot.into())).await
    }

    async fn restore(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        self.call(Call::Restore(name.clone(), snapshot.into())).await
    }

    async fn drop_snapshot(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        self.call(Call::DropSnapshot(name.clone(), snapshot.into())).await
    }

    async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>, ProviderError> {
        self.call(Call::Snapshots(name.clone())).await
    }

    async fn console(&self, name: &InstanceName, terminal: (u16, u16)) -> Result<Execution, ProviderError> {
        self.client().await?.begin_command(&Call::Console(name.clone(), terminal)).await
    }

    async fn foreign(&self) -> Result<Vec<Foreign>, ProviderError> {
        self.call(Call::Foreign).await
    }

    async fn inspect(&self, folder: &Path) -> Result<Foreign, ProviderError> {
        self.call(Call::Inspect(folder.to_owned())).await
    }

    async fn adopt(&self, spec: &InstanceSpec, origin: &Origin) -> Result<Instance, ProviderError> {
        self.mark()?;
        self.call(Call::Adopt(spec.clone(), origin.clone())).await
    }

    async fn release(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.call(Call::Release(name.clone())).await
    }

    async fn publish(&self, ports: &[PublishedPort]) -> Result<(), ProviderError> {
        self.call(Call::Publish(ports.to_vec())).await
    }
}
