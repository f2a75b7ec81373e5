//! resolved, retry-provisioning

use async_trait::async_trait;

use crate::model::Change;

use super::super::backend::{Asker, Backend};
use super::super::requests::{Done, Refusal, Resolved, RetryProvisioning};
use super::super::server::Handle;
use super::name;

#[async_trait]
impl Handle for Resolved {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        backend.commit(by, Change::Resolve { unit: name(&self.unit)?, retry: self.retry }).await?;
        Ok(Done { notes: Vec::new(), targets: vec![self.unit] })
    }
}

#[async_trait]
impl Handle for RetryProvisioning {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        if self.machines.is_empty() {
            return Err(Refusal::new("no machines specified"));
        }
        let machines = self.machines.iter().map(|text| name(text)).collect::<Result<Vec<_>, _>>()?;
        backend.commit(by, Change::RetryProvisioning { machines }).await?;
        Ok(Done { notes: Vec::new(), targets: self.machines })
    }
}
