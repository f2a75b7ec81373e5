//! `destroy-machine`: takes machines away.

use crate::api::DestroyMachine as Request;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Remove machines that host no unit
#[derive(Debug, clap::Args)]
pub struct DestroyMachine {
    /// Machines (`1`) or containers on them (`1/lxc/0`)
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
    /// At once, without running hooks
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitOption,
}

impl DestroyMachine {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if self.machines.is_empty() {
            return Err(Failure::usage("no machines specified").hint("encanto destroy-machine 3"));
        }
        let command = words("destroy-machine", &self.machines);
        let request = Request { machines: self.machines, force: self.force };
        session.start(&command, &request, self.wait.until_gone())
    }
}
