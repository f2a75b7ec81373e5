//! `status`: what there is and how it is, once or for as long as one looks.

use crate::api::{Client, EnvironmentStatus, Status as Request, Watch};
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::output::{Output, Paint};
use crate::cli::render::{self, Format};
use crate::cli::screen::Screen;
use crate::cli::session::{Session, block_on};
use crate::cli::terminal::Interrupts;

/// Show machines, services and units
///
/// A table on a terminal, YAML otherwise. `--format short` is a line a unit, `summary` counts, `dot` and `svg` are
/// pictures of the services and their relations.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto status 'wiki*'
  encanto status --watch
  encanto status --format svg > environment.svg")]
pub struct Status {
    /// Services or units to show, e.g. `mysql`, `mysql/0` or `my*`
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Stay, and show it anew whenever it changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

impl Status {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let format = Format::choose(session.format, &session.output);
        if self.watch {
            return watch(session, self.patterns, format);
        }
        let filtered = !self.patterns.is_empty();
        let status = session.ask("status", &Request { patterns: self.patterns })?;
        session.output.data(&text(format, session.output.paint, &status)?)?;
        if format == Format::Tabular && session.output.stderr_is_terminal {
            advise(&session.output, &status, filtered);
        }
        Ok(DONE)
    }
}

fn text(format: Format, paint: Paint, status: &EnvironmentStatus) -> Result<String, Failure> {
    Ok(match format {
        Format::Yaml => render::status::yaml(status)?,
        Format::Json => render::json(status)?,
        Format::Tabular => render::status::tabular(paint, status),
        Format::Short => render::short::short(status),
        Format::Summary => render::short::summary(status),
        Format::Dot => render::dot::dot(status),
        Format::Svg => render::svg::svg(status),
    })
}

fn watch(session: &Session<'_>, patterns: Vec<String>, format: Format) -> Outcome {
    let settings = session.settings()?;
    let mut screen = Screen::new(&session.output);
    let end = block_on(async {
        let client = Client::connect(&settings).await?.for_command("status");
        let mut interrupts = Interrupts::listen()?;
        let mut changes = client.watch(&Watch { patterns }).await?;
        loop {
            let status = tokio::select! {
                status = changes.next() => status?,
                () = interrupts.next() => return Err(Failure::interrupted()),
            };
            let Some(status) = status else {
                return Err(Failure::failed("the controller stopped").hint("encanto controller start"));
            };
            // Each line of JSON is a whole already.
            let separator = if format == Format::Json { "" } else { "---\n" };
            screen.show(&session.output, separator, &text(format, session.output.paint, &status)?)?;
        }
    });
    screen.leave(&session.output);
    end
}

/// What one would type next.
fn advise(output: &Output, status: &EnvironmentStatus, filtered: bool) {
    if status.services.is_empty() && filtered {
        output.note("\nno service or unit matches");
    } else if status.services.is_empty() {
        output.note(&format!("\nenvironment \"{}\" has no services yet", status.environment));
        output.hint("encanto deploy mediawiki");
    }
    if let Some((name, _)) = status.units().find(|(_, unit)| unit.agent_state == "error") {
        output.note("");
        output.hint(&format!("encanto show-status-log {name}"));
        output.hint(&format!("encanto debug-log --replay --no-tail -i {name}"));
    }
}
