//! `machine list`

use crate::api::{ForeignMachine, ForeignMachines, ListMachines, MachineEntry};
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::{self, Format, structured};
use crate::cli::session::Session;

/// Show the machines, with what runs them and what is in them
#[derive(Debug, clap::Args)]
pub struct List {
    /// Also what there is on the host that this environment does not manage; its id is `-`
    #[arg(long)]
    all: bool,
}

impl List {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let format = Format::of_table(session.format)?;
        let mut answer = session.ask("machine list", &ListMachines {})?;
        if self.all {
            let others = session.ask("machine list", &ForeignMachines {})?.machines;
            answer.machines.extend(others.into_iter().map(unmanaged));
        }
        let text = match format {
            Format::Tabular => render::machine::machines(session.output.paint, &answer.machines),
            other => structured(Some(other), &answer.machines)?,
        };
        session.output.data(&text)?;
        Ok(DONE)
    }
}

fn unmanaged(foreign: ForeignMachine) -> MachineEntry {
    let info = match foreign.obstacle {
        Some(obstacle) => format!("not managed: {obstacle}"),
        None => "not managed".to_owned(),
    };
    MachineEntry {
        machine: "-".to_owned(),
        instance: foreign.name,
        kind: Some(foreign.kind),
        state: foreign.state,
        info: Some(info),
        ..MachineEntry::default()
    }
}
