//! The simulated provider, in a world where any call may fail, take its time, or be the last.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use encanto::provider::simulated::SimulatedProvider;
use encanto::provider::{
    ExecRequest, Execution, FileStat, Hardware, Instance, InstanceName, InstanceSpec, InstanceState, Kind, LayerKey,
    Progress, Provider, ProviderError, PublishedPort, WriteOptions,
};

use crate::sim::{Fate, Sim};

pub struct FlakyProvider {
    pub inner: SimulatedProvider,
    pub sim: Arc<Sim>,
}

impl FlakyProvider {
    async fn call<T>(
        &self,
        call: &str,
        effect: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let failed = || ProviderError::Simulated(format!("{call} did not work this time"));
        let fate = self.sim.fate(call).await;
        if fate == Fate::FailsBefore {
            return Err(failed());
        }
        let result = effect.await;
        match fate {
            Fate::FailsAfter => Err(failed()),
            Fate::Crash => {
                self.sim.crash();
                std::future::pending().await
            }
            _ => result,
        }
    }
}

#[async_trait]
impl Provider for FlakyProvider {
    async fn open(&self, progress: Progress) -> Result<(), ProviderError> {
        self.call("open", self.inner.open(progress)).await
    }

    async fn teardown(&self) -> Result<(), ProviderError> {
        self.call("teardown", self.inner.teardown()).await
    }

    fn host_address(&self) -> Ipv4Addr {
        self.inner.host_address()
    }

    fn host_hardware(&self) -> Hardware {
        self.inner.host_hardware()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.inner.kinds()
    }

    fn base_key(&self, kind: Option<&str>, series: &str) -> String {
        self.inner.base_key(kind, series)
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        self.call(&format!("create {}", spec.name), self.inner.create(spec)).await
    }

    async fn start(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.call(&format!("start {name}"), self.inner.start(name)).await
    }

    async fn stop(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.call(&format!("stop {name}"), self.inner.stop(name)).await
    }

    async fn ended(&self, name: &InstanceName) {
        self.inner.ended(name).await;
        self.sim.alive().await;
    }

    async fn destroy(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.call(&format!("destroy {name}"), self.inner.destroy(name)).await
    }

    async fn list(&self) -> Result<BTreeMap<InstanceName, InstanceState>, ProviderError> {
        self.call("list", self.inner.list()).await
    }

    async fn exec(&self, name: &InstanceName, request: ExecRequest) -> Result<Execution, ProviderError> {
        self.call(&format!("exec {name}"), self.inner.exec(name, request)).await
    }

    async fn read_file(&self, name: &InstanceName, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        self.call(&format!("read {name}"), self.inner.read_file(name, path, limit)).await
    }

    async fn write_file(
        &self,
        name: &InstanceName,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError> {
        self.call(&format!("write {name}"), self.inner.write_file(name, path, content, options)).await
    }

    async fn stat_file(&self, name: &InstanceName, path: &str) -> Result<Option<FileStat>, ProviderError> {
        self.call(&format!("stat {name}"), self.inner.stat_file(name, path)).await
    }

    async fn remove_file(&self, name: &InstanceName, path: &str) -> Result<(), ProviderError> {
        self.call(&format!("remove {name}"), self.inner.remove_file(name, path)).await
    }

    async fn has_layer(&self, key: &LayerKey) -> Result<bool, ProviderError> {
        self.call("has_layer", self.inner.has_layer(key)).await
    }

    async fn seal(&self, name: &InstanceName, key: &LayerKey) -> Result<(), ProviderError> {
        self.call(&format!("seal {name}"), self.inner.seal(name, key)).await
    }

    async fn clone_instance(&self, from: &InstanceName, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        self.call(&format!("clone {from} as {}", spec.name), self.inner.clone_instance(from, spec)).await
    }

    async fn restore(&self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        self.call(&format!("restore {name}"), self.inner.restore(name, snapshot)).await
    }

    async fn publish(&self, ports: &[PublishedPort]) -> Result<(), ProviderError> {
        self.call("publish", self.inner.publish(ports)).await
    }

    async fn disturbed(&self) -> String {
        let damage = self.inner.disturbed().await;
        self.sim.alive().await;
        damage
    }

    async fn mend(&self) -> Result<(), ProviderError> {
        self.call("mend", self.inner.mend()).await
    }
}
