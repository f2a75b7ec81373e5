//! Which ports are reachable from outside the host.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::model::{Model, Port, Unit};

/// A port of a unit's machine that is open to the outside, and the host's port that leads to it, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenPort {
    pub address: Ipv4Addr,
    pub port: Port,
    pub host_port: Option<u16>,
}

/// All of them, sorted.
pub fn wanted(model: &Model) -> BTreeSet<OpenPort> {
    let mut open = BTreeSet::new();
    for service in model.services.values().filter(|service| service.exposed) {
        let units: Vec<&Unit> = model.units_of(service).collect();
        for unit in &units {
            let Some(address) = model.machines.get(&unit.machine).and_then(|machine| machine.address()) else {
                continue;
            };
            open.extend(unit.open_ports.iter().map(|port| OpenPort { address, port: *port, host_port: None }));
        }
        // A host port leads to one unit: the first that has the port open.
        for mapping in &service.published {
            let target = units.iter().find(|unit| unit.open_ports.contains(&mapping.port));
            let address = target.and_then(|unit| model.machines.get(&unit.machine)).and_then(|m| m.address());
            if let Some(address) = address {
                open.insert(OpenPort { address, port: mapping.port, host_port: Some(mapping.host_port) });
            }
        }
    }
    open
}
