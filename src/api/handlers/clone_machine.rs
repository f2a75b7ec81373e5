//! machine clone

use async_trait::async_trait;

use crate::model::{Change, Cloning, Event, MachineChange};

use super::super::backend::{Asker, Backend};
use super::super::machines::CloneMachine;
use super::super::requests::{Done, Refusal};
use super::super::server::Handle;
use super::{constraint_notes, constraints, done, machine, name, not_lost};

#[async_trait]
impl Handle for CloneMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let from = machine(&backend.model(), &self.machine)?;
        not_lost(backend, &[from])?;
        let constraints = constraints(self.constraints.as_deref())?;
        let called = self.name.as_deref().map(name).transpose()?;
        let notes = constraint_notes(&backend.model(), &constraints);
        let cloning = Cloning { from, count: self.count, constraints, name: called };
        let events = backend.commit(by, Change::Machine(MachineChange::Clone(cloning))).await?;
        let mut done = done(&events);
        done.notes.extend(notes);
        done.targets = events
            .iter()
            .filter_map(|event| match event {
                Event::MachineCloned { machine, .. } => Some(machine.to_string()),
                _ => None,
            })
            .collect();
        Ok(done)
    }
}
