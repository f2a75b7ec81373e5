//! `machine`: what is done with machines that are there, whatever runs them. A file each.

mod adopt;
mod clone;
mod console;
mod list;
mod release;
mod restart;
mod restore;
mod snapshot;
mod start;
mod stop;

use crate::cli::error::Outcome;
use crate::cli::session::Session;

/// Stop, start, copy, keep and take over machines, whatever runs them
#[derive(Debug, clap::Args)]
#[command(after_help = "A machine is named by its id (`3`, `1/lxc/0`) or by its name (`add-machine --name big-box`).

Examples:
  encanto machine list
  encanto machine stop 3 && encanto machine start 3 --wait
  encanto machine snapshot 3 before-upgrade
  encanto machine restore 3 before-upgrade
  encanto machine clone 3 --name trial --ram 1024
  encanto machine list --all
  sudo encanto machine adopt web")]
pub struct Machine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::List),
    Stop(stop::Stop),
    Start(start::Start),
    #[command(visible_alias = "reboot")]
    Restart(restart::Restart),
    Clone(clone::Clone),
    Snapshot(snapshot::Snapshot),
    Restore(restore::Restore),
    Console(console::Console),
    Adopt(adopt::Adopt),
    Release(release::Release),
}

impl Machine {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        match self.verb {
            Verb::List(verb) => verb.run(session),
            Verb::Stop(verb) => verb.run(session),
            Verb::Start(verb) => verb.run(session),
            Verb::Restart(verb) => verb.run(session),
            Verb::Clone(verb) => verb.run(session),
            Verb::Snapshot(verb) => verb.run(session),
            Verb::Restore(verb) => verb.run(session),
            Verb::Console(verb) => verb.run(session),
            Verb::Adopt(verb) => verb.run(session),
            Verb::Release(verb) => verb.run(session),
        }
    }
}
