//! Machines: made, started, destroyed.

use std::time::Duration;

use crate::model::{
    Change, Charm, CharmUrl, Constraints, HardwareFacts, MachineChange, MachineId, MachineWork, Sighting, Trouble,
};
use crate::plan::patience;
use crate::plan::provision::{self, MachineStep};
use crate::provider::{Hardware, Instance, InstanceName, InstanceSpec, LayerKey, ProviderError};

use super::adoption;
use super::driver::Next;
use super::layers::Layers;
use super::ledger::LedgerError;
use super::observer::Watches;
use super::{RETRY, World, chain, kinds, wishes};

/// How long the creation of a machine may go on after its destruction was asked for.
const GIVE_UP: Duration = Duration::from_secs(2);

/// Looks after one machine until nothing is due for it.
pub async fn reconcile(world: World, layers: Layers, watches: Watches, id: MachineId) -> Next {
    loop {
        if !world.is_open() {
            return Next::Rest; // everyone is nudged when it is
        }
        let (sighting, trouble) = {
            let observed = world.ledger.observed();
            (observed.instances.get(&id).copied(), observed.troubles.get(&id).cloned())
        };
        let step = provision::next(&world.ledger.model(), id, sighting);
        let Some(step) = step else {
            watches.keep(&world, id);
            match retry(&world, id, trouble.as_ref()).await {
                Some(next) => return next,
                None => continue,
            }
        };
        if let Some(wait) = step.wait(trouble.as_ref(), world.ledger.now()) {
            return Next::After(Duration::from_millis(wait.unsigned_abs()));
        }
        let work = step.work();
        let done = match step {
            MachineStep::Create { series, constraints, charm } => {
                create(&world, &layers, id, Wanted { series, constraints, charm }).await
            }
            MachineStep::Adopt { series, constraints, adopted } => {
                adoption::adopt(&world, id, &adopted, (series, constraints)).await
            }
            MachineStep::Clone(copying) => wishes::clone(&world, id, *copying).await,
            MachineStep::Start { instance } => start(&world, id, instance).await,
            MachineStep::Stop { instance } => wishes::stop(&world, &watches, id, instance).await,
            MachineStep::Halted => wishes::report(&world, MachineChange::Halted { machine: id }).await,
            MachineStep::Up => wishes::up(&world, id).await,
            MachineStep::Restore { instance, snapshot } => {
                wishes::restore(&world, &watches, id, (instance, snapshot)).await
            }
            MachineStep::Destroy { instance } => destroy(&world, id, instance).await,
            MachineStep::Release { instance } => adoption::release(&world, id, instance).await,
        };
        if let Err(error) = done {
            let words = chain(error.as_ref());
            world.logbook.machine_error(id, "provisioner", &words);
            failed(&world, id, work, words);
            return Next::After(RETRY);
        }
    }
}

/// Asks again for a machine that could not be created, when it is time. `None` if that changed something.
async fn retry(world: &World, id: MachineId, trouble: Option<&Trouble>) -> Option<Next> {
    let delay = provision::retry_creation(&world.ledger.model(), id, trouble, world.ledger.now());
    // A machine whose name does not fit will never be made: no time changes its name.
    let possible = world.retry_hooks.is_some() && world.instance_name(id).is_ok();
    let Some(delay) = delay.filter(|_| possible) else { return Some(Next::Rest) };
    if delay > 0 {
        return Some(Next::After(Duration::from_millis(delay.unsigned_abs())));
    }
    match world.ledger.commit("@provisioner", Change::RetryProvisioning { machines: vec![id] }).await {
        Ok(_) | Err(LedgerError::Refused(_)) => None,
        Err(LedgerError::Stopped) => Some(Next::Rest),
        Err(LedgerError::Journal(_)) => Some(Next::After(RETRY)),
    }
}

/// Notes that `work` came to nothing: it is tried again later, later each time.
fn failed(world: &World, id: MachineId, work: MachineWork, words: String) {
    let now = world.ledger.now();
    world.ledger.observe(|observed| {
        observed.machine_activity.remove(&id);
        let trouble = patience::failed(observed.troubles.get(&id), work, now, words);
        observed.troubles.insert(id, trouble);
    });
}

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Wanted {
    series: String,
    constraints: Constraints,
    charm: Option<Box<Charm>>,
}

async fn create(world: &World, layers: &Layers, id: MachineId, wanted: Wanted) -> Result<(), Failure> {
    let layer = tokio::select! {
        biased;
        layer = layer_of(world, layers, id, &wanted) => layer,
        () = world.ledger.until_gone(|model| !still_wanted(model, id)) => {
            idle(world, id);
            return Ok(());
        }
    };
    let name = match world.instance_name(id) {
        Ok(name) => name,
        Err(error) => return misnamed(world, id, &error).await,
    };
    doing(world, id, "creating");
    let layers = layer.clone().into_iter().collect();
    let spec = InstanceSpec { layers, ..spec(name, wanted.series, &wanted.constraints) };
    let prepared = layer.and(wanted.charm).map(|charm| charm.url);
    made(world, id, world.provider.create(&spec), prepared).await
}

/// An instance as constraints want it, without layers.
pub(super) fn spec(name: InstanceName, series: String, constraints: &Constraints) -> InstanceSpec {
    let (kind, memory, cores) = (constraints.virt_type.clone(), constraints.mem, constraints.cpu_cores);
    InstanceSpec { name, kind, series, layers: Vec::new(), memory, cores, build: false }
}

/// Sees the making of an instance to its end, unless nobody wants it any more, and says what came of it.
pub(super) async fn made(
    world: &World,
    id: MachineId,
    making: impl Future<Output = Result<Instance, ProviderError>>,
    prepared: Option<CharmUrl>,
) -> Result<(), Failure> {
    let created = tokio::select! {
        biased;
        created = making => created,
        () = given_up(world, id) => {
            idle(world, id);
            return Ok(());
        }
    };
    let change = match created {
        Ok(instance) => came_up(world, id, instance, prepared),
        Err(error) => not_created(world, id, &error),
    };
    world.ledger.commit("@provisioner", change).await?;
    kinds::look_again(world).await?;
    Ok(())
}

/// The layer with the charm's software, if there is to be one and it could be made.
async fn layer_of(world: &World, layers: &Layers, id: MachineId, wanted: &Wanted) -> Option<LayerKey> {
    let charm = wanted.charm.as_ref()?;
    show(world, id, format!("preparing the software of {}", charm.meta.name));
    layers.ensure(world, charm, (wanted.constraints.virt_type.as_deref(), &wanted.series), id).await
}

/// The machine runs.
fn came_up(world: &World, machine: MachineId, instance: Instance, prepared: Option<CharmUrl>) -> Change {
    world.ledger.observe(|observed| {
        observed.instances.insert(machine, Sighting::Running);
        // Before the commit: a machine that is started has nothing of this left on it.
        observed.machine_activity.remove(&machine);
        observed.troubles.remove(&machine);
    });
    let Hardware { arch, cores, memory: mem } = instance.hardware;
    Change::MachineProvisioned {
        machine,
        instance: instance.name.to_string(),
        address: instance.address,
        hardware: HardwareFacts { arch, cores, mem },
        prepared,
    }
}

/// No time mends a name: this is no trouble that is tried again.
pub(super) async fn misnamed(world: &World, id: MachineId, error: &ProviderError) -> Result<(), Failure> {
    let message = chain(error);
    world.logbook.machine_error(id, "provisioner", &message);
    world.ledger.commit("@provisioner", Change::MachineFailed { machine: id, message }).await?;
    Ok(())
}

fn not_created(world: &World, id: MachineId, error: &ProviderError) -> Change {
    let message = chain(error);
    world.logbook.machine_error(id, "provisioner", &message);
    let work = world.ledger.model().machines.get(&id).map_or(MachineWork::Create, provision::making);
    failed(world, id, work, message.clone());
    Change::MachineFailed { machine: id, message }
}

/// Returns once nobody wants the machine any more and its creation has had the time to end by itself: cut off between
/// two steps it leaves more to be cleared away.
async fn given_up(world: &World, id: MachineId) {
    world.ledger.until_gone(|model| !still_wanted(model, id)).await;
    tokio::time::sleep(GIVE_UP).await;
}

pub(super) fn still_wanted(model: &crate::model::Model, id: MachineId) -> bool {
    model.machines.get(&id).is_some_and(|machine| machine.life == crate::model::Life::Alive)
}

async fn start(world: &World, id: MachineId, instance: String) -> Result<(), Failure> {
    doing(world, id, "starting");
    let started = world.provider.start(&InstanceName::new(instance)?).await;
    let now = world.ledger.now();
    match started {
        Ok(()) => world.ledger.observe(|observed| {
            observed.instances.insert(id, Sighting::Running);
            observed.machine_activity.remove(&id);
            let trouble = patience::started(observed.troubles.get(&id), now);
            observed.troubles.insert(id, trouble);
        }),
        Err(error @ ProviderError::NoInstance(_)) => {
            world.logbook.machine_error(id, "provisioner", &chain(&error));
            world.ledger.observe(|observed| {
                observed.instances.insert(id, Sighting::Missing);
                observed.machine_activity.remove(&id);
            });
        }
        Err(error) => {
            // It may run all the same, and an operator may want it stopped by now.
            world.ledger.observe(|observed| {
                observed.instances.insert(id, Sighting::Unknown);
            });
            return Err(error.into());
        }
    }
    Ok(())
}

async fn destroy(world: &World, id: MachineId, instance: Option<String>) -> Result<(), Failure> {
    doing(world, id, "destroying");
    // An instance may be there that was never recorded: the controller was killed in between.
    match instance.map_or_else(|| world.instance_name(id), InstanceName::new) {
        Ok(name) => match world.provider.destroy(&name).await {
            Ok(()) | Err(ProviderError::NoInstance(_)) => {}
            Err(error) => return Err(error.into()),
        },
        // Nothing can have been made by a name that does not fit.
        Err(error) => tracing::debug!("machine {id} has no instance: {error}"),
    }
    gone(world, id).await
}

/// The machine has left the host, or is no concern of the environment any more.
pub(super) async fn gone(world: &World, id: MachineId) -> Result<(), Failure> {
    world.ledger.commit("@provisioner", Change::MachineGone { machine: id }).await?;
    world.ledger.observe(|observed| {
        observed.instances.remove(&id);
        observed.machine_activity.remove(&id);
        observed.troubles.remove(&id);
    });
    Ok(())
}

pub(super) fn idle(world: &World, id: MachineId) {
    world.ledger.observe(|observed| {
        observed.machine_activity.remove(&id);
    });
}

/// What is done to the container, or whatever it is.
pub(super) fn doing(world: &World, id: MachineId, what: &str) {
    let activity = format!("{what} the {}", world.ledger.model().noun(id));
    tell(world, id, activity);
}

/// In the log and in `status`.
pub(super) fn tell(world: &World, id: MachineId, activity: String) {
    world.logbook.machine_info(id, "provisioner", &activity);
    show(world, id, activity);
}

/// In `status` only.
pub(super) fn show(world: &World, id: MachineId, activity: String) {
    world.ledger.observe(|observed| {
        observed.machine_activity.insert(id, activity);
    });
}
