//! `action`: what a charm can be asked to do, and what came of it. A file each; Juju's later spellings are hidden verbs
//! of their own.

mod cancel;
mod list;
mod run;
mod show;
mod status;

pub use cancel::CancelTask;
pub use list::Actions;
pub use run::RunAction;
pub use show::ShowTask;
pub use status::Operations;

use crate::api::ActionTask;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::render::structured;
use crate::cli::session::Session;

/// See what charms can do on demand, have them do it, see what came of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto action list mysql
  encanto action do mysql/0 backup database=wiki --wait
  encanto action status
  encanto action show 3")]
pub struct Action {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(visible_alias = "defined")]
    List(Actions),
    #[command(visible_alias = "run")]
    Do(RunAction),
    #[command(visible_alias = "fetch")]
    Show(ShowTask),
    Status(Operations),
    Cancel(CancelTask),
}

impl Action {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        match self.verb {
            Verb::List(verb) => verb.run(session),
            Verb::Do(verb) => verb.run(session),
            Verb::Show(verb) => verb.run(session),
            Verb::Status(verb) => verb.run(session),
            Verb::Cancel(verb) => verb.run(session),
        }
    }
}

/// Tells how an action ended that was waited for.
///
/// # Errors
/// If it is not completed.
fn ended(session: &Session<'_>, task: &ActionTask) -> Outcome {
    session.output.data(&structured(session.format, task)?)?;
    match task.status.as_str() {
        "completed" => Ok(DONE),
        _ if !task.is_over() => {
            Err(Failure::failed(format!("the time is over: action {} is {}", task.id, task.status))
                .hint(format!("encanto action show {} --wait", task.id)))
        }
        status => {
            let log = format!("encanto debug-log --replay --no-tail -i {}", task.unit);
            Err(Failure::failed(format!("action {} {status}: {}", task.id, task.message)).hint(log))
        }
    }
}
