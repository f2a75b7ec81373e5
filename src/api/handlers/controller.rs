//! controller status and stop, destroy-environment

use async_trait::async_trait;

use super::super::backend::{Asker, Backend};
use super::super::requests::{ControllerAnswer, ControllerInfo, DestroyEnvironment, Done, Refusal, StopController};
use super::super::server::Handle;

#[async_trait]
impl Handle for ControllerInfo {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<ControllerAnswer, Refusal> {
        Ok(backend.info())
    }
}

#[async_trait]
impl Handle for StopController {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<Done, Refusal> {
        backend.stop();
        Ok(Done::default())
    }
}

#[async_trait]
impl Handle for DestroyEnvironment {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<Done, Refusal> {
        backend.destroy().await?;
        Ok(Done::default())
    }
}
