//! `init`: writes `environments.yaml`.

use crate::cli::environments::{BOILERPLATE, Home};
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::session::Session;

/// Write the file that defines the environments
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Overwrite the file if there is one
    #[arg(short, long)]
    force: bool,
    /// Only show what would be written
    #[arg(long)]
    show: bool,
}

impl Init {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if self.show {
            session.output.data(BOILERPLATE)?;
            return Ok(DONE);
        }
        let home = Home::find();
        let there = home.environments_file();
        if !self.force && there.symlink_metadata().is_ok() {
            return Err(Failure::failed(format!(
                "an environment configuration already exists: \"{}\"",
                there.display()
            ))
            .hint("encanto init -f overwrites it"));
        }
        let path = home.write_environments(BOILERPLATE)?;
        session.output.note(&format!("An environment configuration file has been written to {}", path.display()));
        session.output.note("Edit the file if you like, then run `sudo encanto bootstrap`.");
        Ok(DONE)
    }
}
