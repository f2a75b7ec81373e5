//! What every command has at hand: the environment that is meant, the way to its controller, and where to write.

use std::future::Future;
use std::io;

use super::environments::Home;
use super::error::{DONE, Failure, Outcome};
use super::host::Host;
use super::output::Output;
use super::progress::{self, WaitOption};
use super::render::Format;
use super::values::words;
use crate::api::{Client, Done, EnvironmentSettings, Verb, Wait};

pub struct Session<'a> {
    pub host: &'a dyn Host,
    pub output: Output,
    pub format: Option<Format>,
    /// `-e` or `ENCANTO_ENV`.
    pub environment: Option<String>,
    /// Options of the verb, for the journal.
    pub flags: Vec<String>,
}

/// Runs until it is done; the runtime lives no longer. Nothing of [`Host`] may be called inside.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))?
        .block_on(work)
}

impl Session<'_> {
    pub fn settings(&self) -> Result<EnvironmentSettings, Failure> {
        let home = Home::find();
        let settings = home.settings(self.environment.as_deref())?;
        if let Some(problem) = self.host.problem(&settings) {
            let file = home.environments_file();
            return Err(Failure::failed(format!("\"{}\": environments.{}: {problem}", file.display(), settings.name)));
        }
        self.output.verbose(&format!("environment \"{}\" in {}", settings.name, settings.folder.display()));
        Ok(settings)
    }

    /// What the journal says of this command: `command` and the options that were given.
    pub fn named(&self, command: &str) -> String {
        words(command, &self.flags)
    }

    /// Asks back before something is lost.
    ///
    /// # Errors
    /// With these words, unless the answer is yes.
    pub fn confirm(&self, warning: &str, aborted: &str, hint: &str) -> Result<(), Failure> {
        self.output.stderr_raw(&format!("{warning}\n\nContinue [y/N]? "));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(|error| Failure::io("cannot read the answer", &error))?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => {
                if answer.is_empty() {
                    self.output.stderr_raw("\n");
                }
                Err(Failure::failed(aborted).hint(hint))
            }
        }
    }

    /// One question, one answer. `command` goes to the journal and must not hold values of settings.
    pub fn ask<V: Verb>(&self, command: &str, verb: &V) -> Result<V::Answer, Failure> {
        let settings = self.settings()?;
        block_on(async { Ok(Client::connect(&settings).await?.for_command(self.named(command)).call(verb).await?) })
    }

    /// Asks for something that takes time, and stays to see it done if that is wanted.
    pub fn start<V: Verb<Answer = Done>>(&self, command: &str, verb: &V, wait: Following<'_>) -> Outcome {
        let settings = self.settings()?;
        block_on(async {
            let client = Client::connect(&settings).await?.for_command(self.named(command));
            let done = client.call(verb).await?;
            for note in &done.notes {
                self.output.note(note);
            }
            let Some(timeout) = wait.option.timeout() else { return Ok(DONE) };
            let condition = Some(wait.condition.to_owned());
            progress::follow(&self.output, &client, Wait { targets: done.targets, condition, timeout }).await
        })
    }
}

/// What `--wait` of a verb waits for.
pub struct Following<'a> {
    option: &'a WaitOption,
    condition: &'static str,
}

impl WaitOption {
    /// A unit may end blocked, waiting for what only the operator can give: that is no failure of the command.
    pub fn until_settled(&self) -> Following<'_> {
        Following { option: self, condition: "settled" }
    }

    pub fn until_gone(&self) -> Following<'_> {
        Following { option: self, condition: "gone" }
    }

    pub fn until_started(&self) -> Following<'_> {
        Following { option: self, condition: "started" }
    }
}
