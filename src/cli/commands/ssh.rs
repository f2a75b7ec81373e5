//! `ssh`: a shell or a command inside a machine, without keys or passwords.

use std::io::{self, IsTerminal};

use crate::api::{Client, Exec};
use crate::cli::error::Outcome;
use crate::cli::exec_stream;
use crate::cli::session::{Session, block_on};
use crate::cli::terminal;

/// Open a shell inside a machine, or run a command there
///
/// The words of a command are joined and read by the shell inside, as ssh does. Exits with the code of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto ssh mysql/0
  encanto ssh 3 'journalctl -b | tail'
  encanto ssh mysql/0 cat /etc/hosts > hosts")]
pub struct Ssh {
    /// A unit (`mysql/0`) or a machine (`3`); with `USER@` before it as that user, else as root
    target: String,
    /// A command and its arguments; a login shell if there is none
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Use a terminal although there is a command
    #[arg(short = 't', long)]
    tty: bool,
}

impl Ssh {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let terminal = io::stdin().is_terminal() && (self.tty || self.command.is_empty());
        let command = format!("ssh {}", self.target);
        let exec = Exec {
            target: self.target,
            argv: argv(&self.command),
            terminal: terminal.then(terminal::size),
            term: std::env::var("TERM").ok().filter(|_| terminal),
        };
        block_on(async {
            let client = Client::connect(&settings).await?.for_command(command);
            let stream = client.exec(&exec).await?;
            exec_stream::talk(stream, terminal, None).await
        })
    }
}

/// As `ssh` has it: one line for the shell of the other side.
fn argv(words: &[String]) -> Vec<String> {
    if words.is_empty() { Vec::new() } else { vec!["sh".to_owned(), "-c".to_owned(), words.join(" ")] }
}
