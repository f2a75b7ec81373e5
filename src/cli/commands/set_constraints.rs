//! `set-constraints`: what new machines must be like.

use crate::api::SetConstraints as Request;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::session::Session;
use crate::cli::values::words;

/// Say what new machines must be like
///
/// Of a service, or of the whole environment. All that was said before is forgotten; without constraints there are none
/// any more. Machines that are there stay as they are. What a service says goes before what the environment says;
/// `mem=` says that there is no limit.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto set-constraints mem=1G cpu-cores=1
  encanto set-constraints mysql mem=2G
  encanto set-constraints -s mediawiki mem=")]
pub struct SetConstraints {
    /// The service; without one the whole environment
    #[arg(short, long, value_name = "SERVICE")]
    service: Option<String>,
    /// A service, if not named by `-s`, then constraints, e.g. `mem=512M cpu-cores=1`
    #[arg(value_name = "KEY=VALUE")]
    words: Vec<String>,
}

impl SetConstraints {
    pub fn run(mut self, session: &Session<'_>) -> Outcome {
        let command = words("set-constraints", &self.words);
        if self.words.first().is_some_and(|word| !word.contains('=')) {
            let named = self.words.remove(0);
            if self.service.replace(named).is_some() {
                return Err(
                    Failure::usage("the service is given twice").hint("encanto set-constraints SERVICE KEY=VALUE")
                );
            }
        }
        let done = session.ask(&command, &Request { service: self.service, constraints: self.words.join(" ") })?;
        for note in &done.notes {
            session.output.note(note);
        }
        Ok(DONE)
    }
}
