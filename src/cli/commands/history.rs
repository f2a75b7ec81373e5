//! `history`: which command asked for what, and when.

use crate::api::History as Request;
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::{self, Format, structured};
use crate::cli::session::Session;
use crate::cli::values::seconds;

/// Show which commands changed the environment, when, by whom, and what came of them
///
/// A table, the newest last, unless --format asks for YAML or JSON. The user is the one whom the kernel names, so root
/// for what was typed with sudo. Flags are shown; values of settings and the lines of `run` never are.
#[derive(Debug, clap::Args)]
pub struct History {
    /// Only what has to do with this service, unit (`mysql/0`) or other name
    #[arg(value_name = "NAME")]
    about: Option<String>,
    /// The newest so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
    /// Only what this user asked for
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only what is not older, e.g. `30m` or `8h`
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,
}

impl History {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let format = Format::of_table(session.format)?;
        let request = Request { lines: self.lines, about: self.about, user: self.user, since: self.since };
        let answer = session.ask("history", &request)?;
        let text = match format {
            Format::Tabular => render::record::history(session.output.paint, &answer.entries),
            other => structured(Some(other), &answer.entries)?,
        };
        session.output.data(&text)?;
        Ok(DONE)
    }
}
