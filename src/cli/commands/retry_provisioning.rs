//! `retry-provisioning`: another attempt at machines that could not be made.

use crate::api::RetryProvisioning as Request;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Try again to make machines that could not be made
#[derive(Debug, clap::Args)]
pub struct RetryProvisioning {
    /// Machines in error, e.g. `1`
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl RetryProvisioning {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if self.machines.is_empty() {
            return Err(Failure::usage("no machines specified").hint("encanto retry-provisioning 3"));
        }
        let command = words("retry-provisioning", &self.machines);
        session.start(&command, &Request { machines: self.machines }, self.wait.until_started())
    }
}
