//! set

use async_trait::async_trait;

use crate::model::Change;

use super::super::backend::Backend;
use super::super::requests::{Done, Refusal, SetConfig};
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
