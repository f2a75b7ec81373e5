//! What charms prepare: made once, kept as a layer, shared by all machines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio_util::task::AbortOnDropHandle;

use crate::charm;
use crate::model::{Change, Charm, Hook, MachineId, Model, UnitName};
use crate::provider::{InstanceName, InstanceSpec};

use super::access::Access;
use super::unit_agent::{self, Sink};
use super::{RETRY, World, chain};

/// Handle on the layers that are being made; clones share it. Builds end with the last of them, so with the workers.
#[derive(Clone, Default)]
pub struct Layers {
    building: Arc<Builds>,
}

/// What a layer is for: a kind of machines, the default if none is named, and their series.
pub type Base<'a> = (Option<&'a str>, &'a str);

/// One build a key: it goes on until its end, whoever came first and whoever goes meanwhile.
type Builds = Mutex<HashMap<String, Build>>;

/// The end of a build, for all who wait for it. With the last of its clones the build is ended.
type Build = Shared<BoxFuture<'static, Result<(), String>>>;

/// Takes a build that has ended, in whatever way, out of those that are waited for.
struct Ended {
    /// Not owned: a build must not keep itself alive.
    building: Weak<Builds>,
    key: String,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let building = self.building.upgrade();
        let ended = building
            .as_ref()
            .and_then(|building| building.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key));
        // Without the lock: what goes with it is not ours to know.
        drop(ended);
    }
}

impl Layers {
    /// The key of the layer with the software of `charm`; made if need be. `None` if it cannot be made: the reason
    /// is then on the unit that machine `id` is for, in error, and the machine is to be made without.
    pub async fn ensure(&self, world: &World, charm: &Charm, base: Base<'_>, id: MachineId) -> Option<String> {
        let files = match world.charms.files(&charm.digest).await {
            Ok(files) => files,
            Err(error) => {
                fail(world, id, &chain(&error)).await;
                return None;
            }
        };
        let (kind, series) = base;
        let key = charm::prepare_key(&files, &world.provider.base_key(kind, series));
        let made = self.build(world, charm, (base, &key), id);
        match made.await {
            Ok(()) => Some(key),
            Err(message) => {
                fail(world, id, &message).await;
                None
            }
        }
    }

    /// The build of `key`, begun if there is none.
    fn build(&self, world: &World, charm: &Charm, (base, key): (Base<'_>, &String), id: MachineId) -> Build {
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(build) = building.get(key) {
            return build.clone();
        }
        let ended = Ended { building: Arc::downgrade(&self.building), key: key.clone() };
        let (world_in, charm) = (world.clone(), charm.clone());
        let (kind, series) = (base.0.map(str::to_owned), base.1.to_owned());
        let work = async move {
            let ended = ended;
            build(&world_in, &charm, ((kind.as_deref(), &series), &ended.key), id).await
        };
        let task = AbortOnDropHandle::new(tokio::spawn(world.tasks.track_future(work)));
        let build = async move { task.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed().shared();
        building.insert(key.clone(), build.clone());
        build
    }
}

async fn build(
    world: &World,
    charm: &Charm,
    ((kind, series), key): (Base<'_>, &String),
    id: MachineId,
) -> Result<(), String> {
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
        kind: kind.map(str::to_owned),
        series: series.to_owned(),
        layers: vec![],
        memory: None,
        cores: None,
        build: true,
    };
    let made = match world.provider.create(&spec).await {
        Ok(_) => prepare(world, (charm, key), &name, id).await,
        Err(error) => Err(chain(&error)),
    };
    if made.is_err() {
        clear(world, &name, id).await;
    }
    made
}

/// Runs the charm's step in the scratch instance, and keeps what it wrote.
async fn prepare(
    world: &World,
    (charm, key): (&Charm, &String),
    name: &InstanceName,
    id: MachineId,
) -> Result<(), String> {
    let unit = first_unit(&world.ledger.model(), id);
    let sink = Arc::new(Sink::new(world, unit, id, Hook::Prepare));
    let access = Arc::new(Access::new(world.provider.clone(), name.clone()));
    let files = world.charms.files(&charm.digest).await.map_err(|error| chain(&error))?;
    let prepared = world.hooks.prepare(&files, access, sink.clone()).await;
    prepared.map_err(|error| unit_agent::failed(sink.as_ref(), &error))?;
    world.provider.seal(name, key).await.map_err(|error| chain(&error))
}

/// Nobody may ever ask for this layer again: what is left of it must go now, however often that takes.
async fn clear(world: &World, name: &InstanceName, id: MachineId) {
    while let Err(error) = world.provider.destroy(name).await {
        world.logbook.machine_error(id, "provisioner", &chain(&error));
        tokio::time::sleep(RETRY).await;
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
