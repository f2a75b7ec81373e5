//! `add-relation`: lets two services talk to each other.

use crate::api::AddRelation as Request;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Add a relation between two services
///
/// The endpoints are inferred if only one pair of them fits.
#[derive(Debug, clap::Args)]
pub struct AddRelation {
    /// Two services, each with the name of its endpoint if need be: `wordpress mysql:db`
    #[arg(value_name = "SERVICE[:ENDPOINT]")]
    endpoints: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl AddRelation {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if self.endpoints.len() != 2 {
            return Err(
                Failure::usage("a relation must involve two services").hint("encanto add-relation wordpress mysql")
            );
        }
        let command = words("add-relation", &self.endpoints);
        session.start(&command, &Request { endpoints: self.endpoints }, self.wait.until_settled())
    }
}
