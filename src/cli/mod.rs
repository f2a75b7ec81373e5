//! The command line: a file a verb, each of which parses, asks the controller, and renders the answer.
//!
//! Nothing here decides anything about services or machines, and nothing starts a process: what the host must do is
//! behind [`Host`], what the controller must do behind [`crate::api::Client`].

mod account;
mod charm_folder;
mod commands;
mod config_file;
mod environments;
mod error;
mod exec_stream;
mod flags;
pub mod host;
mod keyboard;
mod output;
mod process;
mod progress;
mod render;
mod screen;
mod session;
mod terminal;
mod transfer;
mod usage;
mod values;
mod yaml;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser};

use commands::Command;
use error::{Failure, Outcome};
use host::Host;
use output::{Loudness, Output};
use render::Format;
use session::Session;

/// Deploys services from Lua charms onto machines of this host.
///
/// Begin with `encanto init`, `sudo encanto bootstrap`, `encanto deploy mediawiki`.
#[derive(Debug, Parser)]
#[command(name = "encanto", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The environment to work in, instead of the current one
    #[arg(short, long, global = true, value_name = "NAME", env = "ENCANTO_ENV", hide_env_values = true)]
    environment: Option<String>,
    /// Say more about what is done
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Say everything, also the causes of an error
    #[arg(long, global = true)]
    debug: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true, conflicts_with_all = ["verbose", "debug"])]
    quiet: bool,
    /// How data is written
    #[arg(long, global = true, value_name = "FORMAT")]
    format: Option<Format>,
    /// No colour, as with the variable NO_COLOR
    #[arg(long, global = true)]
    no_color: bool,
}

/// Runs one command line and gives its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted; of `ssh`, the
/// code of the command inside.
pub fn run(args: impl IntoIterator<Item = OsString>, host: &dyn Host) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    // A wrong command line has no options yet, but its error should still be without colour if that was asked for.
    let no_color = args.iter().any(|arg| arg == "--no-color");
    let mut command = Cli::command();
    if no_color {
        command = command.color(clap::ColorChoice::Never);
    }
    let matches = command.try_get_matches_from_mut(&args);
    let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, flags::given(&command, &matches))));
    let (output, outcome) = match parsed {
        Ok((cli, flags)) => execute(cli, flags, host),
        Err(error) => (Output::new(Loudness::Normal, no_color), unparsed(&error, &command, &args)),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            failure.print(&output);
            failure.exit_code()
        }
    }
}

/// Whether this is a command line of ours, without running it; else what is wrong with it. For tests of documents.
///
/// # Errors
/// What a user who typed it would be told.
pub fn understands(args: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    Cli::try_parse_from(args).map(drop).map_err(|error| error.to_string())
}

fn execute(cli: Cli, flags: Vec<String>, host: &dyn Host) -> (Output, Outcome) {
    let Global { environment, verbose, debug, quiet, format, no_color } = cli.global;
    let loudness = match (quiet, verbose, debug) {
        (true, ..) => Loudness::Quiet,
        (_, _, true) => Loudness::Debug,
        (_, true, _) => Loudness::Verbose,
        _ => Loudness::Normal,
    };
    let environment = environment.filter(|name| !name.is_empty());
    let session = Session { host, output: Output::new(loudness, no_color), format, environment, flags };
    let outcome = cli.command.run(&session);
    (session.output, outcome)
}

/// Help and version are data; everything else is wrong usage.
fn unparsed(error: &clap::Error, command: &clap::Command, args: &[OsString]) -> Outcome {
    if !error.use_stderr() || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        error.print().map_err(|error| Failure::output(&error))?;
        return Ok(u8::from(error.use_stderr()) * 2);
    }
    let verb = args.iter().skip(1).find_map(|arg| command.find_subcommand(arg));
    Err(usage::failure(error, verb.map(clap::Command::get_name)))
}
