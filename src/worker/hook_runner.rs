//! What workers ask of whoever runs a charm's functions. Outside of simulations that is the Lua of [`CharmHost`].

use std::sync::Arc;

use async_trait::async_trait;

use crate::charm::{
    ActionContext, ActionOutcome, CharmFiles, CharmHost, HookContext, HookError, HookOutcome, HookSink, MachineAccess,
};

/// # Guarantees
/// Dropping a future ends what it does on the machine.
#[async_trait]
pub trait HookRunner: Send + Sync {
    /// Runs the hook that `context` names.
    async fn run_hook(
        &self,
        files: &CharmFiles,
        context: HookContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<HookOutcome, HookFailure>;

    /// Runs the action that `context` names.
    async fn run_action(
        &self,
        files: &CharmFiles,
        context: ActionContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<ActionOutcome, HookFailure>;

    /// Installs the charm's software on the machine.
    async fn prepare(
        &self,
        files: &CharmFiles,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<(), HookFailure>;
}

/// Why it failed: one line for the status, the whole for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFailure {
    pub summary: String,
    pub report: String,
}

impl From<HookError> for HookFailure {
    fn from(error: HookError) -> Self {
        HookFailure { summary: error.summary(), report: error.report() }
    }
}

#[async_trait]
impl HookRunner for CharmHost {
    async fn run_hook(
        &self,
        files: &CharmFiles,
        context: HookContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<HookOutcome, HookFailure> {
        Ok(CharmHost::run_hook(self, files, context, machine, sink).await?)
    }

    async fn run_action(
        &self,
        files: &CharmFiles,
        context: ActionContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<ActionOutcome, HookFailure> {
        Ok(CharmHost::run_action(self, files, context, machine, sink).await?)
    }

    async fn prepare(
        &self,
        files: &CharmFiles,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<(), HookFailure> {
        Ok(CharmHost::prepare(self, files, machine, sink).await?)
    }
}
