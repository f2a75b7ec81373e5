//! set, unset

use async_trait::async_trait;

use crate::model::{Change, ServiceName};

use super::super::backend::Backend;
use super::super::requests::{Done, Refusal, SetConfig, UnsetConfig};
use super::super::server::Handle;
use super::name;

#[async_trait]
impl Handle for SetConfig {
    async fn handle(self, backend: &dyn Backend, by: &str) -> Result<Done, Refusal> {
        let targets = vec![self.service.clone()];
        backend.commit(by, Change::SetConfig { service: name(&self.service)?, values: self.values }).await?;
        Ok(Done { notes: Vec::new(), targets })
    }
}

#[async_trait]
impl Handle for UnsetConfig {
    async fn handle(self, backend: &dyn Backend, by: &str) -> Result<Done, Refusal> {
        let service: ServiceName = name(&self.service)?;
        let wanted: Vec<(String, u8)> = {
            let model = backend.model();
            let charm = model.services.get(&service).and_then(|found| model.charms.get(&found.charm));
            let declared = charm.into_iter().flat_map(|charm| charm.meta.config.iter());
            declared.filter_map(|(key, decl)| Some((key.clone(), decl.generate?))).collect()
        };
        let generated = wanted.into_iter().map(|(key, length)| (key, backend.random_text(length))).collect();
        backend.commit(by, Change::UnsetConfig { service, keys: self.keys, generated }).await?;
        Ok(Done { notes: Vec::new(), targets: vec![self.service] })
    }
}
