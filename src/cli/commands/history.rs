//! `history`: which command asked for what, and when.

use crate::api::History as Request;
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::{self, Format, structured};
use crate::cli::session::Session;

/// Show which commands changed the environment, when, and what came of them
///
/// A table, the newest last, unless --format asks for YAML or JSON.
#[derive(Debug, clap::Args)]
pub struct History {
    /// The newest so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
}

impl History {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let format = Format::of_table(session.format)?;
        let answer = session.ask("history", &Request { lines: self.lines })?;
        let text = match format {
            Format::Tabular => render::record::history(session.output.paint, &answer.entries),
            other => structured(Some(other), &answer.entries)?,
        };
        session.output.data(&text)?;
        Ok(DONE)
    }
}
