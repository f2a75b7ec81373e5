//! `unset`: settings of a service are what its charm says again.

use crate::api::UnsetConfig;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::words;

/// Give settings of a service their defaults again
#[derive(Debug, clap::Args)]
pub struct Unset {
    /// The service, e.g. `mysql`
    service: String,
    /// Settings, e.g. `max-connections`
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Unset {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        reset(session, self.service, self.keys, &self.wait)
    }
}

pub fn reset(session: &Session<'_>, service: String, keys: Vec<String>, wait: &WaitOption) -> Outcome {
    if keys.is_empty() {
        return Err(Failure::usage("no settings specified").hint(format!("encanto unset {service} KEY")));
    }
    if let Some(pair) = keys.iter().find(|key| key.contains('=')) {
        return Err(Failure::usage(format!("invalid option: \"{pair}\""))
            .hint("only names are given: a setting gets its default again"));
    }
    let command = words(&format!("unset {service}"), &keys);
    session.start(&command, &UnsetConfig { service, keys }, wait.until_settled())
}
