//! `run`: a line for the shell of several machines at once.

use crate::api::{Client, Run as Request, RunAnswer, RunResult};
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::render::{self, structured};
use crate::cli::session::{Session, block_on};
use crate::cli::terminal::{self, Interrupts};
use crate::cli::values::seconds;

/// Run a command on units or machines, on all at the same time
///
/// The words are joined and read by the shell inside. For a unit nothing else works on its machine meanwhile: no hook
/// and no action. What one target says is written as it is, and its code is the exit code; several make a list, and
/// the exit code is 1 if one of them failed. Of a long output the last MiB is told. Ctrl-C ends the command on the
/// machines.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto run --unit mysql/0 'mariadb-admin status'
  encanto run --service mediawiki,wordpress uptime
  encanto run --all --timeout 10m 'apt-get update'")]
pub struct Run {
    /// Units, e.g. `mysql/0,mysql/1`
    #[arg(short, long = "unit", value_name = "UNIT", value_delimiter = ',')]
    units: Vec<String>,
    /// All units of these services
    #[arg(short, long = "service", visible_alias = "application", value_name = "SERVICE", value_delimiter = ',')]
    services: Vec<String>,
    /// Machines, e.g. `1,2`
    #[arg(short, long = "machine", value_name = "MACHINE", value_delimiter = ',')]
    machines: Vec<String>,
    /// Every machine
    #[arg(long, conflicts_with_all = ["units", "services", "machines"])]
    all: bool,
    /// End the command after so long (30s, 5m, 1h)
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = seconds)]
    timeout: u64,
    /// What the shell of each is to run
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if self.units.is_empty() && self.services.is_empty() && self.machines.is_empty() && !self.all {
            return Err(Failure::usage("no targets: name them with --unit, --service, --machine or --all")
                .hint("encanto run --unit mysql/0 uptime"));
        }
        // Of `run` the journal has whom it was for, not what: the line may hold a password.
        let request = Request {
            units: self.units,
            services: self.services,
            machines: self.machines,
            all: self.all,
            command: self.command.join(" "),
            timeout: self.timeout,
        };
        let settings = session.settings()?;
        let RunAnswer { results } = block_on(async {
            let client = Client::connect(&settings).await?.for_command(session.named("run"));
            let mut interrupts = Interrupts::listen()?;
            tokio::select! {
                answer = client.call(&request) => Ok(answer?),
                // The controller ends the command when the connection is gone.
                () = interrupts.next() => Err(Failure::interrupted()),
            }
        })?;
        let cut =
            results.iter().filter(|result| result.cut).map(|result| result.unit.as_ref().unwrap_or(&result.machine));
        let cut: Vec<&str> = cut.map(String::as_str).collect();
        if let Some(first) = cut.first() {
            session.output.note(&format!(
                "only the end of what {} said is shown; `encanto ssh {first} COMMAND` shows all",
                cut.join(", ")
            ));
        }
        match (&results[..], session.format) {
            ([one], None) => plainly(one),
            (all, format) => {
                let shown = all.iter().map(render::run::result).collect::<Result<Vec<_>, _>>()?;
                session.output.data(&structured(format, &shown)?)?;
                let failed = all.iter().filter(|result| result.code != 0 || result.error.is_some()).count();
                match failed {
                    0 => Ok(DONE),
                    failed => Err(Failure::failed(format!("it failed on {failed} of {}", all.len()))),
                }
            }
        }
    }
}

/// What the command said, where it said it, with its code.
fn plainly(result: &RunResult) -> Outcome {
    terminal::pass_on(&render::run::decoded(&result.stdout)?, std::io::stdout().lock())?;
    terminal::pass_on(&render::run::decoded(&result.stderr)?, std::io::stderr().lock())?;
    match &result.error {
        Some(error) => Err(Failure::failed(error.clone())),
        None => Ok(u8::try_from(result.code).unwrap_or(255)),
    }
}
