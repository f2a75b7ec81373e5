//! What the command line asks of this host: checks, starting the controller, taking down what a dead one left.

use std::path::Path;

use anyhow::{Context, bail};

use crate::api::{EnvironmentKind, EnvironmentSettings};
use crate::cli::host::{Finding, Host, Restored};
use crate::provider::registry::Said;
use crate::provider::{ProviderError, command, doctor, systemd};
use crate::worker::chain;

use super::{daemon, restore};

pub struct LocalHost;

impl Host for LocalHost {
    fn problem(&self, env: &EnvironmentSettings) -> Option<String> {
        said(env).problem()
    }

    fn check(&self, env: &EnvironmentSettings) -> Vec<Finding> {
        let finding =
            |found: doctor::HostFinding| Finding { blocking: found.blocking, problem: found.problem, fix: found.fix };
        said(env).check_host().into_iter().map(finding).collect()
    }

    fn mend(&self, env: &EnvironmentSettings) -> anyhow::Result<Vec<String>> {
        said(env).mend_host().map_err(told)
    }

    fn run_controller(&self, env: &EnvironmentSettings) -> anyhow::Result<()> {
        daemon::run(env, &mut std::io::stdout())
    }

    fn spawn_controller(&self, env: &EnvironmentSettings) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        if env.kind != EnvironmentKind::Simulated && systemd::runs() {
            return Ok(systemd::start_service(&service(env, &program)?)?);
        }
        let name = env.name.to_string();
        let program = program.to_string_lossy();
        let said = command::spawn_daemon(&[&program, "-e", &name, "controller", "run"])?;
        if said.starts_with("listening on") {
            return Ok(());
        }
        bail!("the controller did not start: {}", said.trim().trim_start_matches("error: "))
    }

    fn restore(&self, env: &EnvironmentSettings, backup: &Path) -> anyhow::Result<Restored> {
        restore::restore(env, backup)
    }

    fn teardown(&self, env: &EnvironmentSettings) -> anyhow::Result<()> {
        let provider = daemon::provider(env)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(provider.teardown()).map_err(told)?;
        systemd::forget_service(&env.user, env.name.as_str());
        Ok(())
    }
}

/// With what to do about it.
fn told(error: ProviderError) -> anyhow::Error {
    anyhow::anyhow!(chain(&error))
}

pub(super) fn said(env: &EnvironmentSettings) -> Said<'_> {
    let account = rustix::process::geteuid().is_root().then_some((env.uid, env.gid));
    Said { r#type: env.kind.as_str(), uri: env.kind.uri(), account }
}

fn service(env: &EnvironmentSettings, program: &Path) -> anyhow::Result<systemd::Service> {
    let home = env.folder.parent().context("the environment's folder has no parent")?;
    Ok(systemd::Service {
        user: env.user.clone(),
        environment: env.name.to_string(),
        program: program.to_owned(),
        home: home.to_owned(),
        uid: env.uid,
        gid: env.gid,
    })
}
