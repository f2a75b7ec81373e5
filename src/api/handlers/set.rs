//! set, unset

use async_trait::async_trait;

use crate::model::{Change, ServiceName};

use super::super::backend::{Asker, Backend};
use super::super::requests::{Done, Refusal, SetConfig, UnsetConfig};
use super::super::server::Handle;
use super::{generated, name};

#[async_trait]
impl Handle for SetConfig {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let targets = vec![self.service.clone()];
        backend.commit(by, Change::SetConfig { service: name(&self.service)?, values: self.values }).await?;
        Ok(Done { notes: Vec::new(), targets })
    }
}

#[async_trait]
impl Handle for UnsetConfig {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let service: ServiceName = name(&self.service)?;
        let generated = {
            let model = backend.model();
            let charm = model.services.get(&service).and_then(|found| model.charms.get(&found.charm));
            charm.map(|charm| generated(backend, &charm.meta.config)).unwrap_or_default()
        };
        backend.commit(by, Change::UnsetConfig { service, keys: self.keys, generated }).await?;
        Ok(Done { notes: Vec::new(), targets: vec![self.service] })
    }
}
