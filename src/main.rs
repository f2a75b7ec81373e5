//! The program: the helper that enters machines, or the command line.

use std::process::ExitCode;

use encanto::api::EnvironmentSettings;
use encanto::cli::{Finding, Host, run};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|first| first == "__enter") {
        return enter(args.collect());
    }
    ExitCode::from(run(std::env::args_os(), &Unwired))
}

/// The place for the helper that joins a machine's namespaces. It must come before anything that starts a thread.
fn enter(_args: Vec<std::ffi::OsString>) -> ExitCode {
    ExitCode::from(126)
}

/// The place for the host that the controller brings.
struct Unwired;

impl Host for Unwired {
    fn check(&self, _: &EnvironmentSettings) -> Vec<Finding> {
        Vec::new()
    }

    fn mend(&self, _: &EnvironmentSettings) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn run_controller(&self, _: &EnvironmentSettings) -> anyhow::Result<()> {
        anyhow::bail!("this build has no controller")
    }

    fn spawn_controller(&self, _: &EnvironmentSettings) -> anyhow::Result<()> {
        anyhow::bail!("this build has no controller")
    }

    fn teardown(&self, _: &EnvironmentSettings) -> anyhow::Result<()> {
        anyhow::bail!("this build has no controller")
    }
}
