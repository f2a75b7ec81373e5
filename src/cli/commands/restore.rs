//! `restore`: an environment as a backup has it.

use std::path::PathBuf;

use crate::api::{Client, ClientError, EnvironmentSettings, Manifest, backup};
use crate::cli::account;
use crate::cli::environments::Home;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::session::{Session, block_on};

use super::{bootstrap, controller};

/// Put an environment back to the state of a backup
///
/// The environment may be stopped or destroyed; with --force its controller is stopped first. Machines that are still
/// there are found again, with whatever is on their disks now; those that are gone are told. Then the controller starts.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// What `encanto backup` has written
    file: PathBuf,
    /// Also over an environment that runs: what happened since the backup is forgotten
    #[arg(long)]
    force: bool,
}

impl Restore {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let manifest = self.read(&settings)?;
        let file = self.file.to_string_lossy().into_owned();
        account::require_root(&settings, "restoring it", &["restore", &file, "-e", settings.name.as_str()])?;
        match block_on(async { Ok(Client::connect(&settings).await) })? {
            Ok(_) if !self.force => {
                let name = &settings.name;
                return Err(Failure::failed(format!("environment \"{name}\" is running"))
                    .hint(format!("encanto controller stop -e {name}"))
                    .hint("--force stops it, and forgets what happened since the backup"));
            }
            Ok(_) => drop(block_on(controller::stop(session, &settings))?),
            Err(ClientError::NotRunning { .. }) => {}
            Err(ClientError::NotBootstrapped { .. }) => bootstrap::ready_host(session, &settings)?,
            Err(error) => return Err(error.into()),
        }
        let home = Home::find();
        let _alone = home.lock()?;
        home.make_folder(&settings)?;
        let restored = session.host.restore(&settings, &self.file).map_err(|error| Failure::host(&error))?;
        session.host.spawn_controller(&settings).map_err(|error| {
            Failure::host(&error).hint(format!("see {}", settings.controller_log().display())).hint("encanto doctor")
        })?;
        session.output.note(&format!(
            "Restored environment \"{}\" as it was at {}: {} machines and {} units",
            settings.name,
            moment(&manifest),
            manifest.machines,
            manifest.units
        ));
        for machine in restored.missing {
            session.output.note(&format!("machine {machine} is missing: it is not there any more"));
            session.output.hint(&format!("encanto destroy-machine {machine} --force, then add its units again"));
        }
        for instance in restored.unknown {
            session.output.note(&format!("instance {instance} is not in the backup: it is left alone"));
        }
        Ok(DONE)
    }

    /// All that can be wrong with the file is found before anything is changed.
    fn read(&self, settings: &EnvironmentSettings) -> Result<Manifest, Failure> {
        let told = |error: backup::BackupError| {
            let other = matches!(error, backup::BackupError::OtherEnvironment { .. });
            let failure = Failure::host(&anyhow::Error::from(error));
            if other { failure.hint("choose its environment with -e NAME") } else { failure }
        };
        let (manifest, _) = backup::open(&self.file).map_err(told)?;
        manifest.fits(&self.file, settings).map_err(told)?;
        Ok(manifest)
    }
}

/// `2026-11-25 17:05:12Z`
fn moment(manifest: &Manifest) -> String {
    let time = jiff::Timestamp::from_millisecond(manifest.taken).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
