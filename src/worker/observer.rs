//! What became of the instances while nobody looked: after a start of the controller, or a reboot of the host.

use crate::model::{MachineId, Sighting};
use crate::provider::{InstanceState, ProviderError};

use super::{BUILD, World};

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
        let sight = |instance: &str| match instances.iter().find(|(name, _)| name.as_str() == instance) {
            Some((_, InstanceState::Running)) => Sighting::Running,
            Some((_, InstanceState::Stopped)) => Sighting::Stopped,
            None => Sighting::Missing,
        };
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
        let number = name.strip_prefix(&world.prefix).and_then(|rest| rest.strip_prefix("machine-"));
        let id = number.and_then(|number| number.parse::<MachineId>().ok());
        id.is_some_and(|id| model.machines.contains_key(&id)) || name.starts_with(&format!("{}{BUILD}", world.prefix))
    };
    Ok(instances.keys().map(|name| name.to_string()).filter(|name| !known(name)).collect())
}
