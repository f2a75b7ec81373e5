//! `action cancel`

use crate::api::CancelAction;
use crate::cli::error::{DONE, Outcome};
use crate::cli::session::Session;
use crate::cli::values::words;

/// Cancel actions: those that wait never begin, those that run are ended in their machines
#[derive(Debug, clap::Args)]
pub struct CancelTask {
    /// Ids, as `encanto action status` lists them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl CancelTask {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let done = session.ask(&words("action cancel", &self.ids), &CancelAction { ids: self.ids })?;
        done.notes.iter().for_each(|note| session.output.note(note));
        Ok(DONE)
    }
}
