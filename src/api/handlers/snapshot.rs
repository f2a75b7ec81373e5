//! machine snapshot: taken, listed, deleted

use async_trait::async_trait;

use crate::model::{Change, MachineChange, MachineError, MachineId, Model, SnapshotName};

use super::super::backend::{Asker, Backend};
use super::super::machines::{DropSnapshot, ListSnapshots, SnapshotInfo, SnapshotList, TakeSnapshot};
use super::super::requests::{Done, Refusal};
use super::super::server::Handle;
use super::{machine, name, not_lost, refusal};

#[async_trait]
impl Handle for ListSnapshots {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<SnapshotList, Refusal> {
        let machine = machine(&backend.model(), &self.machine)?;
        has_own_disk(&backend.model(), "snapshot", machine)?;
        Ok(SnapshotList { snapshots: backend.snapshots(machine).await? })
    }
}

#[async_trait]
impl Handle for TakeSnapshot {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machine = machine(&backend.model(), &self.machine)?;
        has_own_disk(&backend.model(), "snapshot", machine)?;
        not_lost(backend, &[machine])?;
        let snapshot = match &self.name {
            Some(text) => name(text)?,
            None => by_time(backend)?,
        };
        let known = backend.snapshots(machine).await?;
        if known.iter().any(|known| known.name == snapshot.as_str()) {
            return Err(Refusal::new(format!("cannot take snapshot \"{snapshot}\" of machine {machine}: it has one"))
                .hint("give it another name")
                .hint(format!("`encanto machine snapshot {machine} --delete {snapshot}` makes room")));
        }
        let taken = backend.take_snapshot(machine, &snapshot).await?;
        backend.commit(by, Change::Machine(MachineChange::SnapshotTaken { machine, snapshot })).await?;
        Ok(Done { notes: vec![format!("snapshot {} of machine {machine} is taken", taken.name)], targets: Vec::new() })
    }
}

#[async_trait]
impl Handle for DropSnapshot {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machine = machine(&backend.model(), &self.machine)?;
        has_own_disk(&backend.model(), "snapshot", machine)?;
        let snapshot: SnapshotName = name(&self.name)?;
        is_kept(&backend.snapshots(machine).await?, &snapshot, machine)?;
        backend.drop_snapshot(machine, &snapshot).await?;
        let change = MachineChange::SnapshotDropped { machine, snapshot: snapshot.clone() };
        backend.commit(by, Change::Machine(change)).await?;
        Ok(Done { notes: vec![format!("snapshot {snapshot} of machine {machine} is deleted")], targets: Vec::new() })
    }
}

/// # Errors
/// It was adopted: its disk is somebody's.
pub fn has_own_disk(model: &Model, verb: &'static str, machine: MachineId) -> Result<(), Refusal> {
    match model.machines.get(&machine).and_then(|machine| machine.adopted.as_ref()) {
        Some(_) => Err(refusal::of(&MachineError::Adopted { verb, machine }.into(), model)),
        None => Ok(()),
    }
}

/// # Errors
/// There is none of that name.
pub fn is_kept(known: &[SnapshotInfo], wanted: &SnapshotName, machine: MachineId) -> Result<(), Refusal> {
    if known.iter().any(|known| known.name == wanted.as_str()) {
        return Ok(());
    }
    let refusal = Refusal::new(format!("machine {machine} has no snapshot \"{wanted}\""));
    let names = known.iter().map(|known| known.name.clone());
    Err(refusal::suggest(refusal, wanted.as_str(), names, "snapshots"))
}

/// E.g. `2026-11-25-170512`.
fn by_time(backend: &dyn Backend) -> Result<SnapshotName, Refusal> {
    let now = jiff::Timestamp::from_millisecond(backend.now()).unwrap_or_default();
    name(&now.strftime("%Y-%m-%d-%H%M%S").to_string())
}
