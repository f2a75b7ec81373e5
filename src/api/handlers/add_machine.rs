//! add-machine

use async_trait::async_trait;

use crate::model::{Change, Event, MachineId, NameError};

use super::super::backend::{Asker, Backend};
use super::super::requests::{AddMachine, Done, Refusal};
use super::super::server::Handle;
use super::{constraint_notes, constraints, done, refusal};

#[async_trait]
impl Handle for AddMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let host = host(self.placement.as_deref())?;
        let known = backend.model().series.clone();
        if let Some(series) = self.series.as_ref().filter(|series| **series != known) {
            return Err(Refusal::new(format!("series \"{series}\" is not supported"))
                .hint(format!("this environment makes machines of {known}")));
        }
        let constraints = constraints(self.constraints.as_deref())?;
        if constraints.container.as_deref() == Some("lxc") {
            return Err(Refusal::new("container constraint \"lxc\" not allowed when adding a machine").hint(
                "every machine is an lxc container already; `encanto add-machine lxc:1` makes one on machine 1",
            ));
        }
        let notes = constraint_notes(&backend.model(), &constraints);
        let change = match host {
            None => Change::AddMachines { count: self.count, series: self.series, constraints, name: None },
            Some(machine) => Change::AddContainers { machine, count: self.count, constraints, name: None },
        };
        let events = backend.commit(by, change).await?;
        let mut done = done(&events);
        done.notes.extend(notes);
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

/// Nothing or `lxc` is a new machine, `lxc:1` a container on machine 1.
fn host(placement: Option<&str>) -> Result<Option<MachineId>, Refusal> {
    let Some(text) = placement.filter(|text| *text != "lxc") else { return Ok(None) };
    match text.strip_prefix("lxc:").map(str::parse) {
        Some(Ok(machine)) => Ok(Some(machine)),
        Some(Err(error @ NameError::NestedMachine(_))) => Err(refusal::bad_name(&error)),
        _ => Err(Refusal::new(format!("malformed container argument \"{text}\""))
            .hint("`encanto add-machine` makes a machine, `encanto add-machine lxc:1` a container on machine 1")),
    }
}
