//! `machine release`

use crate::api::ReleaseMachine;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Give adopted machines back
///
/// A container or virtual machine runs on as it is now; the container that was made for a folder ends. Only what the
/// environment added is taken away: its cable and its address. What units have installed stays in it.
#[derive(Debug, clap::Args)]
pub struct Release {
    /// Adopted machines without units
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Release {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = words("machine release", &self.machines);
        session.start(&command, &ReleaseMachine { machines: self.machines }, self.wait.until_gone())
    }
}
