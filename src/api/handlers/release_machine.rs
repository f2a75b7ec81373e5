//! machine release

use async_trait::async_trait;

use crate::model::Change;

use super::super::adopt::ReleaseMachine;
use super::super::backend::{Asker, Backend};
use super::super::requests::{Done, Refusal};
use super::super::server::Handle;
use super::machines;

#[async_trait]
impl Handle for ReleaseMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machines = machines(&backend.model(), &self.machines)?;
        let targets: Vec<String> = machines.iter().map(ToString::to_string).collect();
        backend.commit(by, Change::ReleaseMachines { machines }).await?;
        Ok(Done { notes: Vec::new(), targets })
    }
}
