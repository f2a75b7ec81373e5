//! `destroy-relation`: parts two services.

use crate::api::DestroyRelation as Request;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Remove a relation between two services
///
/// Their units run the departed and broken hooks first.
#[derive(Debug, clap::Args)]
pub struct DestroyRelation {
    /// Two services, each with the name of its endpoint if need be: `wordpress mysql:db`
    #[arg(value_name = "SERVICE[:ENDPOINT]")]
    endpoints: Vec<String>,
    /// At once, without running hooks
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitOption,
}

impl DestroyRelation {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if self.endpoints.len() != 2 {
            return Err(
                Failure::usage("a relation must involve two services").hint("encanto destroy-relation wordpress mysql")
            );
        }
        let command = words("destroy-relation", &self.endpoints);
        session.start(&command, &Request { endpoints: self.endpoints, force: self.force }, self.wait.until_settled())
    }
}
