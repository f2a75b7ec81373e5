//! machine restore

use async_trait::async_trait;

use crate::model::{Change, MachineChange, MachineId, Model, Restore};

use super::super::backend::{Asker, Backend};
use super::super::machines::RestoreMachine;
use super::super::requests::{Done, Refusal};
use super::super::server::Handle;
use super::snapshot::{has_own_disk, is_kept};
use super::{machine, name, not_lost};

#[async_trait]
impl Handle for RestoreMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machine = machine(&backend.model(), &self.machine)?;
        has_own_disk(&backend.model(), "restore", machine)?;
        not_lost(backend, &[machine])?;
        let snapshot = name(&self.snapshot)?;
        is_kept(&backend.snapshots(machine).await?, &snapshot, machine)?;
        let mut changes = backend.changes();
        let change = MachineChange::Restore { machine, snapshot: snapshot.clone() };
        backend.commit(by, Change::Machine(change)).await?;
        let ended = loop {
            changes.mark_unchanged();
            let ended = ended(&backend.model(), machine);
            match ended {
                Some(ended) => break ended,
                None if changes.changed().await.is_err() => {
                    return Err(Refusal::new("the controller ends; the next one goes on with it"));
                }
                None => {}
            }
        };
        ended.map(|()| Done {
            notes: vec![
                format!("machine {machine} has the disk again that it had at snapshot {snapshot}"),
                "what the environment knows of its units is as it was".to_owned(),
            ],
            targets: vec![machine.to_string()],
        })
    }
}

/// What came of it; `None` while it goes on.
fn ended(model: &Model, id: MachineId) -> Option<Result<(), Refusal>> {
    match model.machines.get(&id).map(|machine| &machine.restore) {
        None => Some(Err(Refusal::new(format!("machine {id} was removed")))),
        Some(Some(Restore::Due { .. })) => None,
        Some(Some(Restore::Failed { snapshot, message })) => {
            let words = format!("snapshot {snapshot} of machine {id} was not restored: {message}");
            Some(Err(Refusal::new(words).hint(format!("encanto machine restore {id} {snapshot}"))))
        }
        Some(None) => Some(Ok(())),
    }
}
