//! `version`.

use crate::api::VERSION;
use crate::cli::error::{DONE, Outcome};
use crate::cli::session::Session;

/// Show the version
#[derive(Debug, clap::Args)]
pub struct Version {}

impl Version {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        session.output.data(&format!("encanto {VERSION}\n"))?;
        Ok(DONE)
    }
}
