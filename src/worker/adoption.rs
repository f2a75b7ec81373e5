//! Machines that were there before: taken over, and given back. What is somebody's is never destroyed.

use crate::model::{Adopted, Constraints, MachineId};
use crate::provider::{InstanceName, ProviderError};

use super::World;
use super::provisioner::{Failure, gone, made, misnamed, spec, tell};

pub async fn adopt(
    world: &World,
    id: MachineId,
    adopted: &Adopted,
    (series, constraints): (String, Constraints),
) -> Result<(), Failure> {
    let name = match world.instance_name(id) {
        Ok(name) => name,
        Err(error) => return misnamed(world, id, &error).await,
    };
    tell(world, id, format!("adopting {adopted}"));
    let spec = spec(name, series, &constraints);
    made(world, id, world.provider.adopt(&spec, &adopted.origin), None).await
}

pub async fn release(world: &World, id: MachineId, instance: Option<String>) -> Result<(), Failure> {
    tell(world, id, "giving it back".to_owned());
    // It may be adopted and not recorded: the controller was killed in between.
    match instance.map_or_else(|| world.instance_name(id), InstanceName::new) {
        Ok(name) => match world.provider.release(&name).await {
            Ok(()) | Err(ProviderError::NoInstance(_)) => {}
            Err(error) => return Err(error.into()),
        },
        // Nothing can have been adopted by a name that does not fit.
        Err(error) => tracing::debug!("machine {id} has no instance: {error}"),
    }
    gone(world, id).await
}
