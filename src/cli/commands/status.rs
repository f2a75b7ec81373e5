//! `status`: what there is and how it is.

use crate::api::{EnvironmentStatus, Status as Request};
use crate::cli::error::{DONE, Outcome};
use crate::cli::output::Output;
use crate::cli::render::{self, Format};
use crate::cli::session::Session;

/// Show machines, services and units
///
/// A table on a terminal, YAML otherwise.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// Services or units to show, e.g. `mysql`, `mysql/0` or `my*`
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

impl Status {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let filtered = !self.patterns.is_empty();
        let status = session.ask("status", &Request { patterns: self.patterns })?;
        let format = Format::choose(session.format, &session.output);
        let text = match format {
            Format::Yaml => render::status::yaml(&status)?,
            Format::Json => render::json(&status)?,
            Format::Tabular => render::status::tabular(session.output.paint, &status),
        };
        session.output.data(&text)?;
        if format == Format::Tabular && session.output.stderr_is_terminal {
            advise(&session.output, &status, filtered);
        }
        Ok(DONE)
    }
}

/// What one would type next.
fn advise(output: &Output, status: &EnvironmentStatus, filtered: bool) {
    if status.services.is_empty() && filtered {
        output.note("\nno service or unit matches");
    } else if status.services.is_empty() {
        output.note(&format!("\nenvironment \"{}\" has no services yet", status.environment));
        output.hint("encanto deploy mediawiki");
    }
    let units = status.services.values().flat_map(|service| &service.units);
    if let Some((name, _)) = units.into_iter().find(|(_, unit)| unit.agent_state == "error") {
        output.note("");
        output.hint(&format!("encanto debug-log --replay --no-tail -i {name}"));
    }
}
