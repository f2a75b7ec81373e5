//! `completion`: what a shell needs to complete our commands.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::session::Session;

/// Write what a shell needs to complete commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(encanto completion bash)
  encanto completion zsh > ~/.zfunc/_encanto")]
pub struct Completion {
    shell: Shell,
}

impl Completion {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "encanto", &mut script);
        let script = String::from_utf8(script)
            .map_err(|_| Failure::failed(format!("the {} script cannot be written", self.shell)))?;
        session.output.data(&script)?;
        Ok(DONE)
    }
}
