//! `action show`

use super::ended;
use super::run::wait_for;
use crate::api::{Client, ShowAction};
use crate::cli::error::{DONE, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::render::structured;
use crate::cli::session::{Session, block_on};

/// Show what became of an action: its results, or why it failed
///
/// With --wait it exits with 1 if the action fails.
#[derive(Debug, clap::Args)]
pub struct ShowTask {
    /// What `action do` has told
    id: String,
    #[command(flatten)]
    wait: WaitOption,
}

impl ShowTask {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        block_on(async {
            let client = Client::connect(&settings).await?.for_command(format!("action show {}", self.id));
            if let Some(timeout) = self.wait.timeout() {
                return ended(session, &wait_for(session, &client, (self.id, timeout)).await?);
            }
            let request = ShowAction { id: self.id, wait: false, timeout: None, after: None };
            session.output.data(&structured(session.format, &client.call(&request).await?)?)?;
            Ok(DONE)
        })
    }
}
