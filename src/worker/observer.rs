//! What became of the instances behind the controller's back: while it did not run, and while it does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::model::{Life, Machine, MachineId, Model, Provision, Sighting};
use crate::plan::patience;
use crate::provider::{InstanceName, InstanceState, ProviderError};

use super::{BUILD, World, chain};

/// Who deletes a container stops it first: it must not be started between the two.
const SETTLING: Duration = Duration::from_secs(1);

/// One watch over each instance that runs. Clones share them; they end with the last.
#[derive(Clone)]
pub struct Watches {
    watched: Arc<Mutex<HashMap<MachineId, AbortOnDropHandle<()>>>>,
    nudge: mpsc::UnboundedSender<MachineId>,
}

impl Watches {
    /// `nudge` is told of each machine whose instance has ended.
    pub fn new(nudge: mpsc::UnboundedSender<MachineId>) -> Self {
        Watches { watched: Arc::default(), nudge }
    }

    /// Sees to it that the instance of `id` is watched as long as it runs.
    pub fn keep(&self, world: &World, id: MachineId) {
        let instance = running_instance(&world.ledger.model(), id);
        let seen = world.ledger.observed().instances.get(&id) == Some(&Sighting::Running);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(instance) = instance.filter(|_| seen) else {
            watched.remove(&id);
            return;
        };
        if watched.get(&id).is_none_or(|watch| watch.is_finished()) {
            let watch = tokio::spawn(watch(world.clone(), id, instance, self.nudge.clone()));
            watched.insert(id, AbortOnDropHandle::new(watch));
        }
    }

    /// It is going to be stopped on purpose.
    pub fn forget(&self, id: MachineId) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// The instance of a machine that is to run.
fn running_instance(model: &Model, id: MachineId) -> Option<InstanceName> {
    let wanted = |machine: &&Machine| machine.life == Life::Alive && !machine.power.goes_down();
    let machine = model.machines.get(&id).filter(wanted)?;
    match &machine.provision {
        Provision::Running { instance, .. } => InstanceName::new(instance.clone()).ok(),
        _ => None,
    }
}

async fn watch(world: World, id: MachineId, instance: InstanceName, nudge: mpsc::UnboundedSender<MachineId>) {
    world.provider.ended(&instance).await;
    if running_instance(&world.ledger.model(), id).is_none() {
        return; // it was ended on purpose
    }
    // Known from now on, mended after a moment.
    let now = world.ledger.now();
    world.ledger.observe(|observed| {
        observed.instances.insert(id, Sighting::Stopped);
        match patience::ended(observed.troubles.get(&id), now) {
            Some(trouble) => drop(observed.troubles.insert(id, trouble)),
            None => drop(observed.troubles.remove(&id)),
        }
    });
    tokio::time::sleep(SETTLING).await;
    if running_instance(&world.ledger.model(), id).is_none() {
        return;
    }
    let sighting = match world.provider.list().await {
        Ok(instances) if instances.contains_key(&instance) => Sighting::Stopped,
        Ok(_) => Sighting::Missing,
        Err(error) => {
            tracing::error!("the instances cannot be listed: {}", chain(&error));
            Sighting::Stopped
        }
    };
    let became = if sighting == Sighting::Missing { "is gone" } else { "has stopped" };
    let words = format!("its {} {became}, and nobody asked for that", world.ledger.model().noun(id));
    world.logbook.machine_error(id, "observer", &words);
    world.ledger.observe(|observed| {
        observed.instances.insert(id, sighting);
    });
    // The provisioner has ended: so does the controller.
    let _ = nudge.send(id);
}

/// Looks at every instance once, and removes scratch instances that a killed controller left behind.
///
/// # Errors
/// The provider's.
pub async fn observe(world: &World) -> Result<(), ProviderError> {
    let instances = world.provider.list().await?;
    let scratch = format!("{}{BUILD}", world.prefix);
    for name in instances.keys().filter(|name| name.as_str().starts_with(&scratch)) {
        world.provider.destroy(name).await?;
    }
    let sightings: Vec<(MachineId, Sighting)> = {
        let model = world.ledger.model();
        let running = model.machines.values().filter_map(|machine| match &machine.provision {
            crate::model::Provision::Running { instance, .. } => Some((machine.id, instance.clone())),
            _ => None,
        });
        let states: HashMap<&str, InstanceState> =
            instances.iter().map(|(name, state)| (name.as_str(), *state)).collect();
        let sight = |instance: &str| states.get(instance).map_or(Sighting::Missing, |state| (*state).into());
        running.map(|(id, instance)| (id, sight(&instance))).collect()
    };
    world.ledger.observe(|observed| observed.instances.extend(sightings));
    Ok(())
}

/// Instances of this environment that the model knows nothing of.
///
/// # Errors
/// The provider's.
pub async fn leaked(world: &World) -> Result<Vec<String>, ProviderError> {
    let instances = world.provider.list().await?;
    let model = world.ledger.model();
    let known = |name: &str| {
        let id = name.strip_prefix(&world.prefix).and_then(MachineId::from_tag);
        id.is_some_and(|id| model.machines.contains_key(&id)) || name.starts_with(&format!("{}{BUILD}", world.prefix))
    };
    Ok(instances.keys().map(|name| name.to_string()).filter(|name| !known(name)).collect())
}
