//! `wait`: ends when everything is as asked.

use crate::api::{Client, Wait as Request};
use crate::cli::error::Outcome;
use crate::cli::progress;
use crate::cli::session::{Session, block_on};
use crate::cli::values::seconds;

/// Wait until everything is as it should be
///
/// Exits with 1 and the reasons if it will not get there, or not in time. A hook that failed is waited for as long as
/// it is tried again by itself, until it has failed three times in a row.
#[derive(Debug, clap::Args)]
pub struct Wait {
    /// Services, units or machines; everything if none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// `active`: every unit active and nothing pending; `started`: every start hook
    /// ran; `settled`: nothing is pending, a unit may be blocked; `gone`
    #[arg(long = "for", value_name = "CONDITION", default_value = "active")]
    condition: String,
    /// At most so long: 30s, 5m, 1h
    #[arg(long, value_name = "TIMEOUT", value_parser = seconds)]
    timeout: Option<u64>,
}

impl Wait {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let request = Request { targets: self.targets, condition: Some(self.condition), timeout: self.timeout };
        block_on(async {
            let client = Client::connect(&settings).await?.for_command("wait");
            progress::follow(&session.output, &client, request).await
        })
    }
}
