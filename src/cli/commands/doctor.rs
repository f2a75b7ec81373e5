//! `doctor`: what the host lacks, and what is wrong in a running environment.

use crate::api::{Check, Client};
use crate::cli::account;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::host::Finding;
use crate::cli::output::{GREEN, Output, RED, YELLOW};
use crate::cli::session::{Session, block_on};

/// Look for what this host lacks and for what is wrong in the environment
///
/// Exits with 1 if something stands in the way.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Mend what can be mended
    #[arg(long)]
    fix: bool,
}

impl Doctor {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let mut findings = session.host.check(&settings);
        if self.fix && !findings.is_empty() {
            account::require_root(&settings, "mending its host", &["doctor", "--fix", "-e", settings.name.as_str()])?;
            for line in session.host.mend(&settings).map_err(|error| Failure::host(&error))? {
                session.output.note(&line);
            }
            findings = session.host.check(&settings);
        }
        let problems = block_on(async {
            match Client::connect(&settings).await {
                Ok(client) => Ok(client.for_command("doctor").call(&Check {}).await?.problems),
                Err(error) if error.is_absent() => {
                    session.output.verbose(&error.to_string());
                    Ok(Vec::new())
                }
                Err(error) => Err(error.into()),
            }
        })?;
        session.output.data(&report(&session.output, &findings, &problems))?;
        let well = problems.is_empty() && !findings.iter().any(|finding| finding.blocking);
        Ok(if well { DONE } else { 1 })
    }
}

fn report(output: &Output, findings: &[Finding], problems: &[String]) -> String {
    if findings.is_empty() && problems.is_empty() {
        return format!("{} all is well\n", output.paint.dress(GREEN, "✓"));
    }
    let mut text = String::new();
    for Finding { blocking, problem, fix } in findings {
        let mark = if *blocking { output.paint.dress(RED, "✗") } else { output.paint.dress(YELLOW, "!") };
        text += &format!("{mark} {problem}\n");
        match fix {
            Some(fix) => text += &format!("    {fix}\n"),
            None if !blocking => text += "    encanto doctor --fix\n",
            None => {}
        }
    }
    text.extend(problems.iter().map(|problem| format!("{} {problem}\n", output.paint.dress(RED, "✗"))));
    text
}
