//! `resolved`: a unit goes on after a hook that failed.

use crate::api::Resolved as Request;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;

/// Let a unit go on whose hook failed
///
/// The hook counts as run, unless it is to be run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto resolved mysql/0
  encanto resolved mysql/0 --retry --wait")]
pub struct Resolved {
    /// The unit, e.g. `mysql/0`
    unit: String,
    /// Run the failed hook again
    #[arg(short, long)]
    retry: bool,
    #[command(flatten)]
    wait: WaitOption,
}

impl Resolved {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = format!("resolved {}", self.unit);
        session.start(&command, &Request { unit: self.unit, retry: self.retry }, self.wait.until_settled())
    }
}
