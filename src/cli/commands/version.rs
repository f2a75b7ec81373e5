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
        if !cfg!(feature = "libvirt") {
            session.output.note("built without libvirt: all machines are containers of LXC");
        }
        Ok(DONE)
    }
}
