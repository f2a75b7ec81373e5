//! What charms prepare: made once, kept as a layer, shared by all machines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::charm;
use crate::model::{Change, Charm, Hook, MachineId, Model, UnitName};
use crate::provider::InstanceSpec;

use super::access::Access;
use super::unit_agent::{self, Sink};
use super::{World, chain};

/// Handle on the layers that are being made; clones share it.
#[derive(Clone, Default)]
pub struct Layers {
    /// One cell a key, so that several machines wait for one build.
    building: Arc<Mutex<HashMap<String, Arc<Build>>>>,
}

/// The end of a build, for all who wait for it.
type Build = OnceCell<Result<(), String>>;

impl Layers {
    /// The key of the layer with the software of `charm`; made if need be. `None` if it cannot be made: the reason
    /// is then on the unit that machine `id` is for, in error, and the machine is to be made without.
    pub async fn ensure(&self, world: &World, charm: &Charm, series: &str, id: MachineId) -> Option<String> {
        let files = match world.charms.files(&charm.digest).await {
            Ok(files) => files,
            Err(error) => {
                fail(world, id, &chain(&error)).await;
                return None;
            }
        };
        let key = charm::prepare_key(&files, &world.provider.base_key(series));
        let cell = {
            let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
            building.entry(key.clone()).or_default().clone()
        };
        let (world_in, charm_in, series_in, key_in) = (world.clone(), charm.clone(), series.to_owned(), key.clone());
        let made = cell
            .get_or_init(|| async move {
                // A task of its own: it goes on for the others when the machine that asked first is destroyed.
                let build = tokio::spawn(async move { build(&world_in, &charm_in, &series_in, &key_in, id).await });
                build.await.unwrap_or_else(|error| Err(error.to_string()))
            })
            .await
            .clone();
        self.building.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        match made {
            Ok(()) => Some(key),
            Err(message) => {
                fail(world, id, &message).await;
                None
            }
        }
    }
}

async fn build(world: &World, charm: &Charm, series: &str, key: &String, id: MachineId) -> Result<(), String> {
    let told = |error: crate::provider::ProviderError| chain(&error);
    if world.provider.has_layer(key).await.map_err(told)? {
        return Ok(());
    }
    let told_once = format!("preparing the software of {}, as a layer that later machines share", charm.meta.name);
    world.logbook.machine_info(id, "provisioner", &told_once);
    let name = world.build_name(key).map_err(told)?;
    // Left over from a controller that was killed: half a layer is no layer.
    world.provider.destroy(&name).await.map_err(told)?;
    let spec = InstanceSpec {
        name: name.clone(),
        series: series.to_owned(),
        layers: vec![],
        memory: None,
        cores: None,
        build: true,
    };
    world.provider.create(&spec).await.map_err(told)?;
    let unit = first_unit(&world.ledger.model(), id);
    let sink = Arc::new(Sink::new(world, unit, id, Hook::Prepare));
    let access = Arc::new(Access::new(world.provider.clone(), name.clone()));
    let result = match world.charms.files(&charm.digest).await {
        Ok(files) => {
            let prepared = world.charm_host.prepare(&files, access, sink.clone()).await;
            prepared.map_err(|error| unit_agent::failed(sink.as_ref(), &error))
        }
        Err(error) => Err(chain(&error)),
    };
    match result {
        Ok(()) => world.provider.seal(&name, key).await.map_err(told),
        Err(message) => {
            world.provider.destroy(&name).await.map_err(told)?;
            Err(message)
        }
    }
}

fn first_unit(model: &Model, id: MachineId) -> Option<UnitName> {
    model.principals_on(model.machines.get(&id)?).next().map(|unit| unit.name.clone())
}

async fn fail(world: &World, id: MachineId, message: &str) {
    let unit = first_unit(&world.ledger.model(), id);
    let Some(unit) = unit else { return };
    let change = Change::FailHook { unit, hook: Hook::Prepare, message: message.to_owned() };
    if let Err(error) = world.ledger.commit("@provisioner", change).await {
        tracing::warn!("{error}");
    }
}
