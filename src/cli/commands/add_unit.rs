//! `add-unit`: more units of a service.

use crate::api::AddUnit as Request;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::count;

/// Add units to a service
#[derive(Debug, clap::Args)]
pub struct AddUnit {
    /// The service, e.g. `mysql`
    service: String,
    /// How many
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = count, allow_negative_numbers = true)]
    num_units: u32,
    /// The machine to put it on: `3`, `lxc` or `kvm` (a new one of that kind), or `lxc:3` (a new container on it)
    #[arg(long, value_name = "SPEC")]
    to: Option<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl AddUnit {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = format!("add-unit {}", self.service);
        let request = Request { service: self.service, units: self.num_units, to: self.to };
        session.start(&command, &request, self.wait.until_settled())
    }
}
