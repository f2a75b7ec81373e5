//! set-constraints

use async_trait::async_trait;

use crate::model::{Change, ServiceName};

use super::super::backend::Backend;
use super::super::requests::{Done, Refusal, SetConstraints};
use super::super::server::Handle;
use super::{constraint_notes, constraints, name};

#[async_trait]
impl Handle for SetConstraints {
    async fn handle(self, backend: &dyn Backend, by: &str) -> Result<Done, Refusal> {
        let service: Option<ServiceName> = self.service.as_deref().map(name).transpose()?;
        let constraints = constraints(Some(&self.constraints))?;
        let notes = constraint_notes(&backend.model(), &constraints);
        backend.commit(by, Change::SetConstraints { service, constraints }).await?;
        Ok(Done { notes, targets: Vec::new() })
    }
}
