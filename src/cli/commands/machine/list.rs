//! `machine list`

use crate::api::ListMachines;
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::{self, Format, structured};
use crate::cli::session::Session;

/// Show the machines, with what runs them and what is in them
#[derive(Debug, clap::Args)]
pub struct List {}

impl List {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let format = Format::of_table(session.format)?;
        let answer = session.ask("machine list", &ListMachines {})?;
        let text = match format {
            Format::Tabular => render::machine::machines(session.output.paint, &answer.machines),
            other => structured(Some(other), &answer.machines)?,
        };
        session.output.data(&text)?;
        Ok(DONE)
    }
}
