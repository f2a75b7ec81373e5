//! `action list`

use crate::api::ListActions;
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::{self, Format, structured};
use crate::cli::session::Session;

/// Show the actions of a service
///
/// A table of names and descriptions, unless --format asks for YAML or JSON.
#[derive(Debug, clap::Args)]
pub struct Actions {
    /// The service, e.g. `mysql`
    service: String,
    /// Show the parameters too, with their types, as YAML
    #[arg(long)]
    schema: bool,
}

impl Actions {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let format = match session.format {
            None if self.schema => Format::Yaml,
            asked => Format::of_table(asked)?,
        };
        let command = format!("action list {}", self.service);
        let mut answer = session.ask(&command, &ListActions { service: self.service })?;
        if answer.actions.is_empty() {
            session.output.note("its charm has no actions");
        }
        if !self.schema {
            answer.actions.values_mut().for_each(|action| action.params.clear());
        }
        let text = match format {
            Format::Tabular => render::action::actions(session.output.paint, &answer.actions),
            other => structured(Some(other), &answer.actions)?,
        };
        session.output.data(&text)?;
        Ok(DONE)
    }
}
