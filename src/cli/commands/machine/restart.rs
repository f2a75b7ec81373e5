//! `machine restart`

use crate::api::RestartMachine;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Stop machines and start them again, once
///
/// What runs in one ends first. One that is stopped is started.
#[derive(Debug, clap::Args)]
pub struct Restart {
    /// Ids or names of machines
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Restart {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = words("machine restart", &self.machines);
        session.start(&command, &RestartMachine { machines: self.machines }, self.wait.until_started())
    }
}
