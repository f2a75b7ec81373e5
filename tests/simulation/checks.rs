//! What must hold, while things happen and when they have come to rest.

use std::collections::{BTreeMap, BTreeSet};

use encanto::model::{Event, MachineId, Model, Power, Provision, Sighting, UnitName, check};
use encanto::provider::{InstanceState, Provider, PublishedPort};
use encanto::store::Entry;
use encanto::worker::World;

use crate::provider::FlakyProvider;
use crate::sim::Sim;

/// At any moment.
pub fn always(world: &World, sim: &Sim) -> Vec<String> {
    let mut found = {
        let mut state = sim.state();
        let told = std::mem::take(&mut state.problems);
        state.oracle.problems().into_iter().chain(told).collect::<Vec<_>>()
    };
    found.extend(check::inconsistencies(&world.ledger.model()));
    found
}

/// The journal adds up to the model, also when it comes from a disk.
pub fn replay(model: &Model, entries: &[Entry]) -> Vec<String> {
    let mut replayed = Model::default();
    for entry in entries {
        let stored = serde_json::to_vec(&entry.event).unwrap();
        let event: Event = serde_json::from_slice(&stored).unwrap();
        replayed.apply(&event, entry.at);
    }
    let snapshot: Model = serde_json::from_slice(&serde_json::to_vec(model).unwrap()).unwrap();
    let mut found = Vec::new();
    if replayed != *model {
        found.push("the journal does not add up to the model".to_owned());
    }
    if snapshot != *model {
        found.push("a snapshot is not the model".to_owned());
    }
    found
}

/// When nothing is broken any more but what is broken for good, and nobody has anything to do.
pub async fn at_rest(world: &World, sim: &Sim, provider: &FlakyProvider) -> Vec<String> {
    let instances = provider.inner.list().await.unwrap();
    let model = world.ledger.model().clone();
    let mut found = always(world, sim);
    found.extend(replay(&model, &sim.state().journal.entries()));
    found.extend(sim.state().oracle.at_rest(&model));
    found.extend(errors(&model, world, sim));
    let wanted: BTreeMap<String, MachineId> = model.machines.values().filter_map(instance).collect();
    let stopped = |name: &str| wanted.get(name).is_some_and(|id| model.machines[id].is_off());
    let lost = lost_machines(world);
    for (name, state) in &instances {
        if !wanted.contains_key(name.as_str()) {
            found.push(format!("{name} belongs to no machine"));
        }
        if (*state == InstanceState::Stopped) != stopped(name.as_str()) {
            found.push(format!("{name} is {state:?}, and is not to be"));
        }
    }
    for machine in model.machines.values().filter(|machine| machine.power != Power::On && !machine.is_off()) {
        found.push(format!("machine {} is {:?} still", machine.id, machine.power));
    }
    for (name, id) in &wanted {
        let there = instances.keys().any(|instance| instance.as_str() == name);
        // Nobody looks after what stands still: that it is gone is seen when it is to start.
        if there == lost.contains(id) && !model.machines[id].is_off() {
            found.push(format!("machine {id} is {}there, and seen otherwise", if there { "" } else { "not " }));
        }
    }
    let mut published = provider.inner.published();
    published.sort();
    if published != open_ports(&model) {
        found.push(format!("published is {published:?}, wanted {:?}", open_ports(&model)));
    }
    found
}

fn instance(machine: &encanto::model::Machine) -> Option<(String, MachineId)> {
    match &machine.provision {
        Provision::Running { instance, .. } => Some((instance.clone(), machine.id)),
        _ => None,
    }
}

/// Machines whose instance was deleted behind the controller's back.
pub fn lost_machines(world: &World) -> BTreeSet<MachineId> {
    let observed = world.ledger.observed();
    let missing = observed.instances.iter().filter(|(_, sighting)| **sighting == Sighting::Missing);
    missing.map(|(id, _)| *id).collect()
}

/// Units in error that nothing but luck keeps there.
pub fn curable(model: &Model, world: &World, sim: &Sim) -> Vec<UnitName> {
    let lost = lost_machines(world);
    let state = sim.state();
    let failed = model.units.values().filter_map(|unit| Some((unit, unit.failed.as_ref()?)));
    let curable = failed.filter(|(unit, failed)| {
        let idle = lost.contains(&unit.machine) || model.machines[&unit.machine].is_off();
        !idle && !state.broken.contains(&(unit.name.clone(), failed.hook.to_string()))
    });
    curable.map(|(unit, _)| unit.name.clone()).collect()
}

fn errors(model: &Model, world: &World, sim: &Sim) -> Vec<String> {
    curable(model, world, sim).iter().map(|unit| format!("{unit} is still in error")).collect()
}

/// Ports of exposed services, found without `plan`.
fn open_ports(model: &Model) -> Vec<PublishedPort> {
    let mut open = BTreeSet::new();
    for service in model.services.values().filter(|service| service.exposed) {
        let units = model.units.values().filter(|unit| unit.name.service == service.name);
        let mut taken = BTreeSet::new();
        for unit in units {
            let Some(address) = model.machines.get(&unit.machine).and_then(|machine| machine.address()) else {
                continue;
            };
            for port in &unit.open_ports {
                let protocol = port.protocol.as_str().to_owned();
                let plain = PublishedPort { protocol, host_port: None, address, port: port.number };
                for mapping in service.published.iter().filter(|mapping| mapping.port == *port) {
                    if taken.insert(*mapping) {
                        open.insert(PublishedPort { host_port: Some(mapping.host_port), ..plain.clone() });
                    }
                }
                open.insert(plain);
            }
        }
    }
    open.into_iter().collect()
}
