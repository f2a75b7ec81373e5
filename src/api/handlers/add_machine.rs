//! add-machine

use async_trait::async_trait;

use crate::model::{Change, Event};

use super::super::backend::{Asker, Backend};
use super::super::requests::{AddMachine, Done, Refusal};
use super::super::server::Handle;
use super::{constraints, done};

#[async_trait]
impl Handle for AddMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        match self.placement.as_deref() {
            None | Some("lxc" | "lxc:0") => {}
            Some(other) => {
                return Err(Refusal::new(format!("malformed container argument \"{other}\""))
                    .hint("this provider makes lxc containers on this host: `encanto add-machine`"));
            }
        }
        let known = backend.model().series.clone();
        if let Some(series) = self.series.as_ref().filter(|series| **series != known) {
            return Err(Refusal::new(format!("series \"{series}\" is not supported"))
                .hint(format!("this environment makes machines of {known}")));
        }
        let constraints = constraints(self.constraints.as_deref())?;
        let change = Change::AddMachines { count: self.count, series: self.series, constraints };
        let events = backend.commit(by, change).await?;
        let mut done = done(&events);
        done.targets = events
            .iter()
            .filter_map(|event| match event {
                Event::MachineAdded { machine, .. } => Some(machine.to_string()),
                _ => None,
            })
            .collect();
        Ok(done)
    }
}
