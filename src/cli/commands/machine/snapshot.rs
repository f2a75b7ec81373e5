//! `machine snapshot`

use crate::api::{DropSnapshot, ListSnapshots, TakeSnapshot};
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::{self, Format, structured};
use crate::cli::session::Session;
use crate::cli::values::words;

/// Keep what a machine has on its disk now
///
/// It stands still for as long as that takes, between two hooks of its units. `encanto machine restore` gives it back.
/// Snapshots go with their machine.
#[derive(Debug, clap::Args)]
pub struct Snapshot {
    /// Id or name of the machine
    machine: String,
    /// What the snapshot is to be called; named by the time if nothing is said
    #[arg(conflicts_with_all = ["list", "delete"])]
    name: Option<String>,
    /// Show those that there are
    #[arg(short, long, conflicts_with = "delete")]
    list: bool,
    /// Delete the one of this name
    #[arg(long, value_name = "NAME")]
    delete: Option<String>,
}

impl Snapshot {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let machine = self.machine;
        if self.list {
            return list(session, machine);
        }
        let command = format!("machine snapshot {machine}");
        let done = match self.delete {
            Some(name) => session.ask(&command, &DropSnapshot { machine, name })?,
            None => session.ask(&words(&command, &self.name), &TakeSnapshot { machine, name: self.name })?,
        };
        done.notes.iter().for_each(|note| session.output.note(note));
        Ok(DONE)
    }
}

fn list(session: &Session<'_>, machine: String) -> Outcome {
    let format = Format::of_table(session.format)?;
    let answer = session.ask(&format!("machine snapshot {machine}"), &ListSnapshots { machine })?;
    let text = match format {
        Format::Tabular if answer.snapshots.is_empty() => {
            session.output.note("it has no snapshots");
            return Ok(DONE);
        }
        Format::Tabular => render::machine::snapshots(session.output.paint, &answer.snapshots),
        other => structured(Some(other), &answer.snapshots)?,
    };
    session.output.data(&text)?;
    Ok(DONE)
}
