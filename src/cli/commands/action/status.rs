//! `action status`

use crate::api::ActionTasks;
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::{self, Format, structured};
use crate::cli::session::Session;

/// List the actions that wait, run or are over, the newest last
///
/// A table, unless --format asks for YAML or JSON. The newest 200 that are over are kept.
#[derive(Debug, clap::Args)]
pub struct Operations {
    /// Units or services, `*` stands for anything; none is all
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

impl Operations {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let format = Format::of_table(session.format)?;
        let answer = session.ask("action status", &ActionTasks { patterns: self.patterns })?;
        let text = match format {
            Format::Tabular => render::action::tasks(session.output.paint, &answer.actions),
            other => structured(Some(other), &answer.actions)?,
        };
        session.output.data(&text)?;
        Ok(DONE)
    }
}
