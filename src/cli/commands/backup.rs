//! `backup`: the state of an environment in one file, taken while it runs.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::api::{Client, EnvironmentSettings, Manifest, backup};
use crate::cli::account::Account;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::session::{Session, block_on};
use crate::cli::terminal;

/// Write the state of an environment to a file
///
/// The journal and the charms in use, as they are at one moment; nothing has to stop. The disks of the machines are not
/// in it: databases and files of a service need a backup of their own. The file holds passwords; only you can read it.
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// Where to, `-` for the standard output; without it a new file here, named after the environment and the time
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Backup {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let to_stdout = self.output.as_deref() == Some(Path::new("-"));
        let draft = Draft::beside(self.output.as_deref().filter(|_| !to_stdout), &settings)?;
        block_on(fetch(&settings, &draft))?;
        let (manifest, _) = backup::open(&draft.path).map_err(|error| Failure::host(&error.into()))?;
        if to_stdout {
            let whole = fs::read(&draft.path);
            let whole = whole.map_err(|e| Failure::io(format!("cannot read \"{}\"", draft.path.display()), &e))?;
            terminal::pass_on(&whole, std::io::stdout().lock())?;
        } else {
            // Made by sudo, it is still the user's.
            Account::invoking().own(&draft.path).map_err(|e| Failure::io("cannot give the backup to you", &e))?;
            let target = self.output.unwrap_or_else(|| PathBuf::from(default_name(&manifest)));
            fs::rename(&draft.path, &target)
                .map_err(|error| Failure::io(format!("cannot write \"{}\"", target.display()), &error))?;
            session.output.data(&format!("{}\n", target.display()))?;
        }
        let (machines, units) = (manifest.machines, manifest.units);
        session.output.note(&format!(
            "Backed up environment \"{}\": {machines} machines and {units} units, without the disks of the machines",
            manifest.environment
        ));
        Ok(DONE)
    }
}

/// `local-20261125-170512.backup`, in UTC.
fn default_name(manifest: &Manifest) -> String {
    let time = jiff::Timestamp::from_millisecond(manifest.taken).unwrap_or_default();
    format!("{}-{}.backup", manifest.environment, time.strftime("%Y%m%d-%H%M%S"))
}

/// What is not whole never has the name that was asked for.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn beside(target: Option<&Path>, settings: &EnvironmentSettings) -> Result<Draft, Failure> {
        let name = format!(".{}-{}.backup.part", settings.name, std::process::id());
        if let Some(target) = target.filter(|target| target.is_dir()) {
            return Err(Failure::failed(format!("cannot write \"{}\": is a directory", target.display()))
                .hint("name a file in it"));
        }
        Ok(Draft { path: target.map_or_else(|| PathBuf::from(&name), |target| target.with_file_name(&name)) })
    }

    fn create(&self) -> Result<File, Failure> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
        made.map_err(|error| {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let failure = Failure::io(format!("cannot write to \"{}\"", folder.display()), &error);
            if error.kind() == ErrorKind::AlreadyExists { failure } else { failure.hint("--output FILE") }
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Renamed by then, if all went well.
        let _ = fs::remove_file(&self.path);
    }
}

async fn fetch(settings: &EnvironmentSettings, draft: &Draft) -> Result<(), Failure> {
    let client = Client::connect(settings).await?.for_command("backup");
    let failed = |error| Failure::io(format!("cannot write \"{}\"", draft.path.display()), &error);
    let mut file = draft.create()?;
    let mut download = client.backup().await?;
    while let Some(bytes) = download.next().await? {
        file.write_all(&bytes).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}
