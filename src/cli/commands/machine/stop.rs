//! `machine stop`

use crate::api::StopMachine;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Stop machines until they are started again
///
/// What runs in one ends first: a hook, an action. Its units stay where they are and do nothing meanwhile; relations stay
/// as they are. A unit that is destroyed starts its machine for its last hooks, unless it goes with --force.
#[derive(Debug, clap::Args)]
pub struct Stop {
    /// Ids or names of machines
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Stop {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = words("machine stop", &self.machines);
        session.start(&command, &StopMachine { machines: self.machines }, self.wait.until_started())
    }
}
