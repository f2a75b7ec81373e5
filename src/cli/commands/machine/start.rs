//! `machine start`

use crate::api::StartMachine;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Start machines that were stopped
///
/// Hooks that have waited run then.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Ids or names of machines
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Start {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = words("machine start", &self.machines);
        session.start(&command, &StartMachine { machines: self.machines }, self.wait.until_started())
    }
}
