//! `add-machine`: a machine without units, for later.

use crate::api::AddMachine as Request;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::{Hardware, count, words};

/// Add machines that units can be put on later
#[derive(Debug, clap::Args)]
pub struct AddMachine {
    /// The kind of machine: `lxc`, `libvirt-lxc` or `kvm`; `lxc:1` makes a container on machine 1
    #[arg(value_name = "KIND")]
    placement: Option<String>,
    /// How many
    #[arg(short = 'n', long = "num-machines", value_name = "N", default_value_t = 1, value_parser = count, allow_negative_numbers = true)]
    count: u32,
    /// What it must have, e.g. `mem=512M cpu-cores=1`
    #[arg(long, value_name = "CONSTRAINTS")]
    constraints: Option<String>,
    /// The Debian release in it
    #[arg(long, value_name = "SERIES")]
    series: Option<String>,
    /// What it is to be called beside its number
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    wait: WaitOption,
}

impl AddMachine {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = words("add-machine", &self.placement);
        let request = Request {
            count: self.count,
            series: self.series,
            constraints: self.hardware.or(self.constraints)?,
            placement: self.placement,
            name: self.name,
        };
        session.start(&command, &request, self.wait.until_started())
    }
}
