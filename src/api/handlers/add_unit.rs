//! add-unit

use async_trait::async_trait;

use crate::model::Change;

use super::super::backend::{Asker, Backend};
use super::super::requests::{AddUnit, Done, Refusal};
use super::super::server::Handle;
use super::{done, name, placement};

#[async_trait]
impl Handle for AddUnit {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let placement = placement(self.to.as_deref())?;
        let change = Change::AddUnits { service: name(&self.service)?, count: self.units, placement };
        Ok(done(&backend.commit(by, change).await?))
    }
}
