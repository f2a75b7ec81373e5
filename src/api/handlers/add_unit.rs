//! add-unit

use async_trait::async_trait;

use crate::model::Change;

use super::super::backend::{Asker, Backend};
use super::super::requests::{AddUnit, Done, Refusal};
use super::super::server::Handle;
use super::{cautions, done, name, placement};

#[async_trait]
impl Handle for AddUnit {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let placement = placement(self.to.as_deref(), &backend.model())?;
        let change = Change::AddUnits { service: name(&self.service)?, count: self.units, placement };
        let events = backend.commit(by, change).await?;
        let mut done = done(&events);
        done.notes.extend(cautions(&backend.model(), &events));
        Ok(done)
    }
}
