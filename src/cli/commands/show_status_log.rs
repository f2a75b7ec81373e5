//! `show-status-log`: what a unit or a machine has gone through.

use crate::api::StatusLog as Request;
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::{self, Format, structured};
use crate::cli::session::Session;

/// Show what a unit or a machine has gone through
///
/// A table, the newest last, unless --format asks for YAML or JSON.
#[derive(Debug, clap::Args)]
pub struct ShowStatusLog {
    /// A unit (`mysql/0`) or a machine (`3`)
    entity: String,
    /// The newest so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
}

impl ShowStatusLog {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let format = Format::of_table(session.format)?;
        let command = format!("show-status-log {}", self.entity);
        let answer = session.ask(&command, &Request { entity: self.entity, lines: self.lines })?;
        let text = match format {
            Format::Tabular => render::record::status_log(session.output.paint, &answer.entries),
            other => structured(Some(other), &answer.entries)?,
        };
        session.output.data(&text)?;
        Ok(DONE)
    }
}
