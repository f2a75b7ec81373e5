//! `destroy-unit`: takes units away.

use crate::api::DestroyUnit as Request;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Remove units from their service
#[derive(Debug, clap::Args)]
pub struct DestroyUnit {
    /// Units, e.g. `mysql/0`
    #[arg(value_name = "UNIT")]
    units: Vec<String>,
    /// At once, without running hooks
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitOption,
}

impl DestroyUnit {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if self.units.is_empty() {
            return Err(Failure::usage("no units specified").hint("encanto destroy-unit mysql/0"));
        }
        let command = words("destroy-unit", &self.units);
        let request = Request { units: self.units, force: self.force };
        session.start(&command, &request, self.wait.until_gone())
    }
}
