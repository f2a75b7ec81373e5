//! `unexpose`: closes the ports of a service to the world.

use crate::api::Unexpose as Request;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;

/// Take back `expose`
#[derive(Debug, clap::Args)]
pub struct Unexpose {
    /// The service, e.g. `mysql`
    service: String,
    #[command(flatten)]
    wait: WaitOption,
}

impl Unexpose {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = format!("unexpose {}", self.service);
        session.start(&command, &Request { service: self.service }, self.wait.until_settled())
    }
}
