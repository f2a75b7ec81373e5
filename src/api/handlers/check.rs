//! check: what `doctor` asks a running controller.

use async_trait::async_trait;

use super::super::backend::{Asker, Backend};
use super::super::requests::{Check, CheckAnswer, Refusal};
use super::super::server::Handle;

#[async_trait]
impl Handle for Check {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<CheckAnswer, Refusal> {
        Ok(CheckAnswer { problems: backend.problems().await })
    }
}
