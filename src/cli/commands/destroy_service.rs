//! `destroy-service`: takes services away.

use crate::api::DestroyService as Request;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Remove services with all their units
#[derive(Debug, clap::Args)]
pub struct DestroyService {
    /// Services, e.g. `mysql`
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// At once, without running its hooks; a second time also without those of the services related to it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitOption,
}

impl DestroyService {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if self.services.is_empty() {
            return Err(Failure::usage("no services specified").hint("encanto destroy-service mysql"));
        }
        let command = words("destroy-service", &self.services);
        let request = Request { services: self.services, force: self.force };
        session.start(&command, &request, self.wait.until_gone())
    }
}
