//! What the command line needs of the host it runs on, and may not do itself.

use std::path::Path;

use crate::api::EnvironmentSettings;

/// Something that the host lacks for an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// It must be mended by the operator before anything can work; otherwise [`Host::mend`] sees to it.
    pub blocking: bool,
    pub problem: String,
    /// The command that mends it.
    pub fix: Option<String>,
}

/// What a restore found of the machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Machines of the backup whose instances are gone.
    pub missing: Vec<String>,
    /// Instances that the backup does not know.
    pub unknown: Vec<String>,
}

/// Implemented beside the controller; `main` passes it in.
pub trait Host {
    /// Why nothing can make the machines of this environment as `environments.yaml` describes it.
    fn problem(&self, env: &EnvironmentSettings) -> Option<String>;

    fn check(&self, env: &EnvironmentSettings) -> Vec<Finding>;

    /// Mends what `check` found and does not block. A line for each thing mended.
    fn mend(&self, env: &EnvironmentSettings) -> anyhow::Result<Vec<String>>;

    /// Is the controller, in this process, until it is stopped.
    fn run_controller(&self, env: &EnvironmentSettings) -> anyhow::Result<()>;

    /// Starts the controller as a process of its own. Returns when it listens, or with its own words why it does not.
    fn spawn_controller(&self, env: &EnvironmentSettings) -> anyhow::Result<()>;

    /// Puts an environment without a controller back to the state of a backup.
    fn restore(&self, env: &EnvironmentSettings, backup: &Path) -> anyhow::Result<Restored>;

    /// Takes down everything of an environment whose controller is not alive.
    fn teardown(&self, env: &EnvironmentSettings) -> anyhow::Result<()>;
}
