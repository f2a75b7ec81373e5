//! Machines that were there before: taken over, and given back. What is somebody's is never destroyed.

use crate::model::{Adopted, Constraints, MachineId, MachineWork};
use crate::provider::{InstanceName, InstanceSpec, ProviderError};

use super::World;
use super::provisioner::{Failure, came_up, did_not_come, given_up, gone, idle, tell};

pub async fn adopt(
    world: &World,
    id: MachineId,
    adopted: &Adopted,
    (series, constraints): (String, Constraints),
) -> Result<(), Failure> {
    let made = match world.instance_name(id) {
        Ok(name) => {
            tell(world, id, format!("adopting {adopted}"));
            let spec = InstanceSpec {
                name,
                kind: Some(adopted.kind.clone()),
                series,
                layers: Vec::new(),
                memory: constraints.mem,
                cores: constraints.cpu_cores,
                build: false,
            };
            tokio::select! {
                biased;
                made = world.provider.adopt(&spec, &adopted.origin) => made,
                () = given_up(world, id) => {
                    idle(world, id);
                    return Ok(());
                }
            }
        }
        Err(error) => Err(error),
    };
    let change = match made {
        Ok(instance) => came_up(world, id, instance, None),
        Err(error) => did_not_come(world, id, MachineWork::Adopt, &error),
    };
    world.ledger.commit("@provisioner", change).await?;
    Ok(())
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
