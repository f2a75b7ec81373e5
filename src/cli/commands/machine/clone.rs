//! `machine clone`

use crate::api::CloneMachine;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::{Hardware, count};

/// Make a new machine with what another has on its disk
///
/// The other stands still for as long as it is copied. The new one has a name, an address and a machine id of its own,
/// the same limits unless others are said, and no units: what runs in it is nobody's but yours.
#[derive(Debug, clap::Args)]
pub struct Clone {
    /// Id or name of the machine
    machine: String,
    /// How many copies
    #[arg(short = 'n', long = "num-machines", value_name = "N", default_value_t = 1, value_parser = count, allow_negative_numbers = true)]
    count: u32,
    /// What the new one is to be called beside its number
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What is to be different, e.g. `mem=512M cpu-cores=1`
    #[arg(long, value_name = "CONSTRAINTS")]
    constraints: Option<String>,
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    wait: WaitOption,
}

impl Clone {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = format!("machine clone {}", self.machine);
        let constraints = self.hardware.or(self.constraints)?;
        let request = CloneMachine { machine: self.machine, count: self.count, name: self.name, constraints };
        session.start(&command, &request, self.wait.until_started())
    }
}
