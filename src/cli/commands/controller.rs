//! `controller`: the daemon of an environment. It may go and come; the machines do not notice.

use std::time::Duration;

use serde::Serialize;

use crate::api::{Client, ClientError, ControllerInfo, EnvironmentSettings, StopController};
use crate::cli::account;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::process::Process;
use crate::cli::render::{Format, structured};
use crate::cli::session::{Session, block_on};

/// How long a controller may take to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Start, stop or look at the controller of an environment
#[derive(Debug, clap::Args)]
pub struct Controller {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum Action {
    /// Start it again, after a reboot or a stop; it goes on where it was
    Start,
    /// Stop it; the machines keep running
    Stop,
    /// Show whether it runs
    Status,
    /// Be the controller, in the foreground, for a service manager
    Run,
}

impl Controller {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        match self.action {
            Action::Start => start(session, &settings),
            Action::Stop => block_on(stop(session, &settings)),
            Action::Status => status(session, &settings),
            Action::Run => {
                session.host.run_controller(&settings).map_err(|error| Failure::host(&error))?;
                Ok(DONE)
            }
        }
    }
}

fn start(session: &Session<'_>, settings: &EnvironmentSettings) -> Outcome {
    // One that was killed a moment ago can still be connected to: only an answer counts.
    let answer = async {
        let client = Client::connect(settings).await?.for_command("controller start");
        client.call(&ControllerInfo {}).await
    };
    match block_on(async { Ok(answer.await) })? {
        Ok(_) | Err(ClientError::Version(_)) => {
            session.output.note(&format!("the controller of \"{}\" is running already", settings.name));
            return Ok(DONE);
        }
        Err(ClientError::NotRunning { .. } | ClientError::Interrupted { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let words = ["controller", "start", "-e", settings.name.as_str()];
    account::require_root(settings, "starting its controller", &words)?;
    session.host.spawn_controller(settings).map_err(|error| {
        Failure::host(&error).hint(format!("see {}", settings.controller_log().display())).hint("encanto doctor")
    })?;
    session.output.note(&format!("Started the controller of \"{}\"", settings.name));
    Ok(DONE)
}

pub(super) async fn stop(session: &Session<'_>, settings: &EnvironmentSettings) -> Outcome {
    let client = match Client::connect(settings).await {
        Ok(client) => client.for_command("controller stop"),
        Err(ClientError::NotRunning { .. }) => {
            session.output.note(&format!("the controller of \"{}\" is not running", settings.name));
            return Ok(DONE);
        }
        Err(error) => return Err(error.into()),
    };
    let process = Process::watch(client.call(&ControllerInfo {}).await?.pid);
    for note in client.call(&StopController {}).await?.notes {
        session.output.note(&note);
    }
    process.ended(PATIENCE)?;
    session.output.note(&format!("Stopped the controller of \"{}\"; its machines keep running", settings.name));
    Ok(DONE)
}

#[derive(Serialize)]
struct State<'a> {
    environment: &'a str,
    state: &'a str,
    #[serde(flatten)]
    running: Option<Running>,
}

#[derive(Serialize)]
struct Running {
    version: String,
    pid: u32,
    started: String,
    sequence: u64,
    machines: u64,
    units: u64,
}

fn status(session: &Session<'_>, settings: &EnvironmentSettings) -> Outcome {
    let answer = block_on(async {
        match Client::connect(settings).await {
            Ok(client) => Ok(Some(client.for_command("controller status").call(&ControllerInfo {}).await?)),
            Err(ClientError::NotRunning { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })?;
    let state = State {
        environment: settings.name.as_str(),
        state: if answer.is_some() { "running" } else { "stopped" },
        running: answer.map(|it| Running {
            version: it.version,
            pid: it.pid,
            started: it.started,
            sequence: it.sequence,
            machines: it.machines,
            units: it.units,
        }),
    };
    let format = session.format.filter(|format| *format != Format::Tabular);
    session.output.data(&structured(format, &state)?)?;
    if state.running.is_none() {
        session.output.hint(&format!("encanto controller start -e {}", settings.name));
        return Ok(1);
    }
    Ok(DONE)
}
