//! `machine console`

use std::io::{self, IsTerminal};

use crate::api::{Client, Console as Request};
use crate::cli::error::Outcome;
use crate::cli::exec_stream;
use crate::cli::session::{Session, block_on};
use crate::cli::terminal;

/// Ctrl-]
const LEAVE: u8 = 0x1d;

/// Sit at the console of a machine: what it shows when it starts, and a login
///
/// Ctrl-] leaves; the machine goes on, and so does what was begun at the console. For a shell `encanto ssh` is the
/// better way: the console is for a machine that does not come up.
#[derive(Debug, clap::Args)]
pub struct Console {
    /// Id or name of the machine
    machine: String,
}

impl Console {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let on_terminal = io::stdin().is_terminal();
        let command = format!("machine console {}", self.machine);
        let request = Request { machine: self.machine, terminal: terminal::size() };
        block_on(async {
            let client = Client::connect(&settings).await?.for_command(command);
            let stream = client.console(&request).await?;
            session.output.note("Ctrl-] leaves the console");
            exec_stream::talk(stream, on_terminal, Some(LEAVE)).await
        })
    }
}
