//! `machine restore`

use crate::api::RestoreMachine;
use crate::cli::error::{DONE, Outcome};
use crate::cli::session::Session;

/// Give a machine the disk again that it had at a snapshot
///
/// It is stopped and started for that, between two hooks of its units. What was written in it since then is lost. What the
/// environment knows of its units (their settings, relations, which hooks ran) is not set back: a unit that has come, or
/// was upgraded, since the snapshot may have to be mended by hand.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// Id or name of the machine
    machine: String,
    /// The snapshot, as `encanto machine snapshot MACHINE --list` shows it
    snapshot: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Restore {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let Restore { machine, snapshot, yes } = self;
        if !yes {
            let warning = format!(
                "WARNING: machine {machine} will lose all that was written in it since snapshot {snapshot}.\nWhat the \
                 environment knows of its units is not set back."
            );
            session.confirm(&warning, "the restore was aborted", "-y restores without asking")?;
        }
        let command = format!("machine restore {machine} {snapshot}");
        let done = session.ask(&command, &RestoreMachine { machine, snapshot })?;
        done.notes.iter().for_each(|note| session.output.note(note));
        Ok(DONE)
    }
}
