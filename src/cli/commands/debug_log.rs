//! `debug-log`: one stream of everything that happens.

use crate::api::{Client, DebugLog as Request};
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::process::output_closed;
use crate::cli::render::{self, Format};
use crate::cli::session::{Session, block_on};
use crate::cli::terminal::Interrupts;

/// Lines shown before it follows, as `tail` does.
const LAST: usize = 10;

/// Show the log of everything, and follow it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto debug-log -i mysql/0 -i machine-1
  encanto debug-log -i 'wiki*' -x wiki/2 -l WARNING
  encanto debug-log --replay --no-tail > log")]
pub struct DebugLog {
    /// Begin with the last N lines [default: 10; with --no-tail all]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Begin with everything that is kept
    #[arg(long, conflicts_with = "lines")]
    replay: bool,
    /// Show what there is and end, do not follow
    #[arg(long)]
    no_tail: bool,
    /// Only this unit, service or machine, `*` allowed; may be repeated
    #[arg(short, long, value_name = "ENTITY")]
    include: Vec<String>,
    /// All but this unit, service or machine, `*` allowed; may be repeated
    #[arg(short = 'x', long, value_name = "ENTITY")]
    exclude: Vec<String>,
    /// End after N lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only this level and above: DEBUG, INFO, WARNING, ERROR
    #[arg(short, long, value_name = "LEVEL", ignore_case = true, value_parser = ["DEBUG", "INFO", "WARNING", "ERROR"])]
    level: Option<String>,
}

impl DebugLog {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let replay = self.replay || (self.no_tail && self.lines.is_none());
        let request = Request {
            lines: if replay { None } else { Some(self.lines.unwrap_or(LAST)) },
            replay,
            follow: !self.no_tail,
            include: self.include,
            exclude: self.exclude,
            limit: self.limit,
            level: self.level.map(|level| level.to_uppercase()),
            after: None,
        };
        block_on(async {
            let client = Client::connect(&settings).await?.for_command("debug-log");
            let mut interrupts = Interrupts::listen()?;
            let mut log = client.debug_log(request).await?;
            let mut closed = std::pin::pin!(output_closed());
            loop {
                let line = tokio::select! {
                    line = log.next() => line?,
                    () = &mut closed => return Ok(DONE),
                    () = interrupts.next() => return Err(Failure::interrupted()),
                };
                let Some(line) = line else { return Ok(DONE) };
                let text = match session.format {
                    Some(Format::Json) => render::json(&line)?,
                    Some(Format::Yaml) => format!("---\n{}", render::yaml(&line)?),
                    Some(Format::Tabular) | None => render::log::line(session.output.paint, &line),
                    Some(other) => return Err(other.unknown()),
                };
                session.output.data(&text)?;
            }
        })
    }
}
