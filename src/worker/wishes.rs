//! What operators want of machines that are there: copied, stopped, set back.
//!
//! # Guarantees
//! All of it is done between two hooks: whoever works in the machine ends first. What is cut off is found as it was left
//! and goes on from there ([`crate::plan::provision`]).

use crate::model::{Change, Machine, MachineChange, MachineId, MachineWork, Model, Restore, Sighting, SnapshotName};
use crate::plan::provision::Copying;
use crate::provider::{InstanceName, ProviderError};

use super::ledger::LedgerError;
use super::locks::Held;
use super::observer::Watches;
use super::provisioner::{self, Failure, doing, idle, made, misnamed, show, still_wanted, tell};
use super::{World, chain};

const BY: &str = "@provisioner";

/// Makes machine `id` with what another has on its disk.
pub async fn clone(world: &World, id: MachineId, copying: Copying) -> Result<(), Failure> {
    let Copying { from, instance, series, constraints, prepared } = copying;
    let name = match world.instance_name(id) {
        Ok(name) => name,
        Err(error) => return misnamed(world, id, &error).await,
    };
    let Some(alone) = alone(world, from, id, |model| still_wanted(model, id)).await else {
        return Ok(());
    };
    tell(world, id, format!("copying machine {from}"));
    let source = InstanceName::new(instance)?;
    let spec = provisioner::spec(name, series, &constraints);
    let copy = async {
        let copied = world.provider.clone_instance(&source, &spec).await;
        if matches!(&copied, Err(ProviderError::NoInstance(gone)) if *gone == source) {
            // Nobody watches what stands still: it went away unseen.
            world.ledger.observe(|observed| {
                observed.instances.insert(from, Sighting::Missing);
            });
        }
        copied
    };
    let done = made(world, id, copy, prepared).await;
    drop(alone);
    done
}

pub async fn stop(world: &World, watches: &Watches, id: MachineId, instance: String) -> Result<(), Failure> {
    let Some(alone) = alone(world, id, id, |model| wants(model, id, |m| m.power.goes_down())).await else {
        return Ok(());
    };
    doing(world, id, "stopping");
    watches.forget(id);
    let sighting = match world.provider.stop(&InstanceName::new(instance)?).await {
        Ok(()) => Sighting::Stopped,
        Err(ProviderError::NoInstance(_)) => Sighting::Missing,
        Err(error) => return Err(error.into()),
    };
    seen(world, id, sighting);
    drop(alone);
    Ok(())
}

/// It runs. That it could not be stopped, when that was wanted, is nobody's worry any more.
pub async fn up(world: &World, id: MachineId) -> Result<(), Failure> {
    world.ledger.observe(|observed| {
        if observed.troubles.get(&id).is_some_and(|trouble| trouble.work == MachineWork::Stop) {
            observed.troubles.remove(&id);
        }
    });
    report(world, MachineChange::Up { machine: id }).await
}

/// What the provider says against it ends the wish: what cannot be had is not asked for again and again.
pub async fn restore(
    world: &World,
    watches: &Watches,
    id: MachineId,
    (instance, snapshot): (String, SnapshotName),
) -> Result<(), Failure> {
    let due = |machine: &Machine| matches!(machine.restore, Some(Restore::Due { .. }));
    let Some(alone) = alone(world, id, id, |model| wants(model, id, due)).await else {
        return Ok(());
    };
    tell(world, id, format!("restoring snapshot {snapshot}"));
    watches.forget(id);
    let name = InstanceName::new(instance)?;
    let restored = world.provider.restore(&name, snapshot.as_str()).await;
    let failure = restored.err().map(|error| chain(&error));
    if let Some(words) = &failure {
        world.logbook.machine_error(id, "provisioner", &format!("snapshot {snapshot} was not restored: {words}"));
    }
    // It was stopped and started, or was left in between.
    seen(world, id, sighting(world, &name).await);
    let done = report(world, MachineChange::Restored { machine: id, snapshot, failure }).await;
    drop(alone);
    done
}

/// A report that nobody waits for any more is no failure.
pub async fn report(world: &World, change: MachineChange) -> Result<(), Failure> {
    match world.ledger.commit(BY, Change::Machine(change)).await {
        Ok(_) | Err(LedgerError::Refused(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until nobody works in `machine`, and says so of `shown` meanwhile. `None` if that is not wanted any more before.
async fn alone(world: &World, machine: MachineId, shown: MachineId, wanted: impl Fn(&Model) -> bool) -> Option<Held> {
    if let Some(held) = world.locks.try_hold(machine) {
        return Some(held);
    }
    show(world, shown, format!("waits for what runs on machine {machine} now"));
    let held = tokio::select! {
        biased;
        held = world.locks.hold(machine) => Some(held),
        () = world.ledger.until_gone(|model| !wanted(model)) => None,
    };
    idle(world, shown);
    held
}

fn wants(model: &Model, id: MachineId, what: impl Fn(&Machine) -> bool) -> bool {
    still_wanted(model, id) && model.machines.get(&id).is_some_and(what)
}

async fn sighting(world: &World, name: &InstanceName) -> Sighting {
    match world.provider.list().await {
        Ok(instances) => instances.get(name).map_or(Sighting::Missing, |state| (*state).into()),
        Err(error) => {
            tracing::error!("the instances cannot be listed: {}", chain(&error));
            Sighting::Unknown
        }
    }
}

/// The work is done; how the instance is now.
fn seen(world: &World, id: MachineId, sighting: Sighting) {
    world.ledger.observe(|observed| {
        observed.instances.insert(id, sighting);
        observed.machine_activity.remove(&id);
        observed.troubles.remove(&id);
    });
}
