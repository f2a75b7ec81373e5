//! Snapshots and consoles of machines, for somebody at the other end of the API.

use std::sync::Arc;

use crate::api::backend::Session;
use crate::api::{Refusal, SnapshotInfo};
use crate::model::{MachineId, SnapshotName};
use crate::provider::{InstanceName, Provider, ProviderError, Snapshot};
use crate::worker::World;

use super::{refused, session};

/// A machine and its instance.
pub struct Place {
    pub machine: MachineId,
    pub instance: InstanceName,
}

impl Place {
    pub fn of(machine: MachineId, instance: String) -> Result<Place, Refusal> {
        let instance = InstanceName::new(instance).map_err(|error| refused::of(&error))?;
        Ok(Place { machine, instance })
    }

    /// In the provider's own words. One clear error for what its kind is not able to do at all.
    fn refused(&self, what: &str, error: &ProviderError) -> Refusal {
        match error {
            ProviderError::Unsupported { action, .. } => {
                Refusal::new(format!("cannot {what} machine {}: machines of its kind have no {action}", self.machine))
                    .hint("docs/machines.md has a table of what each kind is able to do")
            }
            error => refused::at(&format!("cannot {what} machine {}", self.machine), error),
        }
    }
}

pub async fn console(provider: &dyn Provider, place: Place, terminal: (u16, u16)) -> Result<Session, Refusal> {
    let opened = provider.console(&place.instance, terminal).await;
    opened.map(session::of).map_err(|error| place.refused("open the console of", &error))
}

pub async fn snapshots(provider: &dyn Provider, place: Place) -> Result<Vec<SnapshotInfo>, Refusal> {
    let listed = provider.snapshots(&place.instance).await;
    let listed = listed.map_err(|error| place.refused("list the snapshots of", &error))?;
    Ok(listed.into_iter().map(info).collect())
}

/// Between two hooks of the machine's units. Once begun it goes on whatever becomes of who asked: a machine that stands
/// still for it is to run again.
pub async fn take(world: &World, place: Place, name: &SnapshotName) -> Result<SnapshotInfo, Refusal> {
    let (world_in, name, instance) = (world.clone(), name.clone(), place.instance.clone());
    let machine = place.machine;
    let work = async move {
        let alone = world_in.locks.hold(machine).await;
        world_in.logbook.machine_info(machine, "snapshot", &format!("taking snapshot {name}"));
        let taken = world_in.provider.snapshot(&instance, name.as_str()).await;
        drop(alone);
        taken
    };
    let ended = tokio::spawn(world.tasks.track_future(work)).await;
    let taken = ended.map_err(|error| Refusal::new(error.to_string()))?;
    taken.map(info).map_err(|error| place.refused("take a snapshot of", &error))
}

pub async fn drop_snapshot(provider: Arc<dyn Provider>, place: Place, name: &SnapshotName) -> Result<(), Refusal> {
    let (instance, snapshot) = (place.instance.clone(), name.clone());
    let work = async move { provider.drop_snapshot(&instance, snapshot.as_str()).await };
    let ended = tokio::spawn(work).await.map_err(|error| Refusal::new(error.to_string()))?;
    ended.map_err(|error| place.refused("delete a snapshot of", &error))
}

fn info(snapshot: Snapshot) -> SnapshotInfo {
    let taken = jiff::Timestamp::from_millisecond(snapshot.taken).unwrap_or_default();
    SnapshotInfo { name: snapshot.name, taken: format!("{taken:.0}"), size: snapshot.size }
}
