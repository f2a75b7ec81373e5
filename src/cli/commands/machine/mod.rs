//! `machine`: what is done with machines that are there, whatever runs them. A file each.

mod adopt;
mod release;

use crate::cli::error::Outcome;
use crate::cli::session::Session;

/// Stop, start, copy and keep machines, whatever runs them
#[derive(Debug, clap::Args)]
pub struct Machine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Adopt(adopt::Adopt),
    Release(release::Release),
}

impl Machine {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        match self.verb {
            Verb::Adopt(verb) => verb.run(session),
            Verb::Release(verb) => verb.run(session),
        }
    }
}
