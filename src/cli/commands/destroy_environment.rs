//! `destroy-environment`: takes everything down, with the controller's help or, if it is dead, without.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use crate::api::{Client, ClientError, ControllerInfo, DestroyEnvironment as Request, EnvironmentSettings};
use crate::cli::account;
use crate::cli::environments::Home;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::process::Process;
use crate::cli::session::{Session, block_on};

/// How long a controller that has answered may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Take down an environment with everything in it
///
/// Leaves no machine, network, process or file behind; images stay in the cache.
#[derive(Debug, clap::Args)]
pub struct DestroyEnvironment {
    /// The environment
    #[arg(value_name = "ENVIRONMENT")]
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Also take down what a controller that is dead or does not answer has left
    #[arg(long)]
    force: bool,
}

impl DestroyEnvironment {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = Home::find().settings(Some(&self.name))?;
        // Whether it can be done is found out before anyone is asked.
        let way = self.way(&settings)?;
        if !self.yes {
            confirm(session, &settings)?;
        }
        match way {
            Way::Controller => match block_on(ask(session, &settings)) {
                Err(_) if self.force => teardown(session, &settings)?,
                asked => asked.map_err(|failure| failure.hint("--force goes on without the controller"))?,
            },
            Way::Ourselves => teardown(session, &settings)?,
        }
        remove_folder(&settings)?;
        session.output.note(&format!("Destroyed environment \"{}\"", settings.name));
        Ok(DONE)
    }

    fn way(&self, settings: &EnvironmentSettings) -> Result<Way, Failure> {
        match block_on(async { Ok(Client::connect(settings).await) })? {
            Ok(_) => return Ok(Way::Controller),
            Err(ClientError::NotRunning { .. }) => {}
            Err(_) if self.force => {}
            Err(error) => return Err(error.into()),
        }
        require_root(settings)?;
        Ok(Way::Ourselves)
    }
}

enum Way {
    Controller,
    /// There is no controller to do it.
    Ourselves,
}

fn require_root(settings: &EnvironmentSettings) -> Result<(), Failure> {
    let words = ["destroy-environment", settings.name.as_str()];
    account::require_root(settings, "destroying it without its controller", &words)
}

fn teardown(session: &Session<'_>, settings: &EnvironmentSettings) -> Result<(), Failure> {
    require_root(settings)?;
    session.output.verbose("taking it down without its controller");
    session.host.teardown(settings).map_err(|error| Failure::host(&error))
}

fn confirm(session: &Session<'_>, settings: &EnvironmentSettings) -> Result<(), Failure> {
    let warning = format!(
        "WARNING: this command will destroy the \"{}\" environment (type: {})\nThis includes all machines, services, \
         data and other resources.",
        settings.name,
        settings.kind.as_str()
    );
    session.confirm(&warning, "environment destruction aborted", "-y destroys without asking")
}

/// Returns when the controller's process is gone too.
async fn ask(session: &Session<'_>, settings: &EnvironmentSettings) -> Result<(), Failure> {
    let client = Client::connect(settings).await?.for_command(format!("destroy-environment {}", settings.name));
    let process = Process::watch(client.call(&ControllerInfo {}).await?.pid);
    session.output.note(&format!("Destroying environment \"{}\"", settings.name));
    for note in client.call(&Request {}).await?.notes {
        session.output.note(&note);
    }
    let ended = process.ended(PATIENCE);
    ended.map_err(|failure| failure.hint(format!("see {}", settings.controller_log().display())))
}

fn remove_folder(settings: &EnvironmentSettings) -> Result<(), Failure> {
    match fs::remove_dir_all(&settings.folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let folder = settings.folder.display();
            Err(Failure::io(format!("all is taken down, but cannot remove \"{folder}\""), &error)
                .hint(format!("sudo rm -r {folder}")))
        }
        _ => Ok(()),
    }
}
