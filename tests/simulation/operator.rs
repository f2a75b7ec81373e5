//! An operator without a plan, and a world that is no kinder.

use encanto::model::{
    ActionCall, ActionId, Change, Cloning, Constraints, Deployment, EndpointRef, Life, MachineChange, MachineId,
    Millis, Model, Placement, Port, Protocol, Provision, PublishedMapping, ServiceName, UnitName, Upgrade,
};
use indexmap::IndexMap;

use crate::charms::{ACTIONS, Charms, SERVICES};
use crate::rng::Rng;

/// Environments stay small: what goes wrong between three goes wrong between two.
const MOST_UNITS: usize = 9;
const MOST_MACHINES: usize = 12;

/// Picks what to ask; it may well be refused.
pub struct Operator<'a> {
    pub rng: &'a mut Rng,
    pub charms: &'a Charms,
    pub model: &'a Model,
}

/// A command's name, and what it asks.
pub type Asked = (&'static str, Change);

impl Operator<'_> {
    pub fn ask(&mut self) -> Option<Asked> {
        let full = self.model.units.len() >= MOST_UNITS || self.model.machines.len() >= MOST_MACHINES;
        let service = self.service();
        // There is little to ask of an empty environment.
        let dice = if self.model.services.len() < 2 && self.rng.chance(800) { 0 } else { self.rng.below(53) };
        Some(match dice {
            0..8 if !full => ("deploy", self.deploy()),
            8..11 if !full => {
                let (count, placement) = self.units();
                ("add-unit", Change::AddUnits { service, count, placement })
            }
            11 if !full => {
                let constraints = Constraints::default();
                let machines: Vec<MachineId> = self.model.machines.keys().copied().collect();
                let host = self.rng.chance(500).then(|| self.rng.pick(&machines).copied()).flatten();
                match host {
                    Some(machine) => {
                        ("add-machine", Change::AddContainers { machine, count: 1, constraints, name: None })
                    }
                    None => ("add-machine", Change::AddMachines { count: 1, series: None, constraints, name: None }),
                }
            }
            39 => {
                let mem = 64 * self.rng.below(3);
                // Now and then machines of another kind.
                let virt_type = (mem == 128).then(|| "kvm".to_owned());
                let constraints = Constraints { mem: Some(mem), virt_type, ..Constraints::default() };
                let service = self.rng.chance(700).then_some(service);
                ("set-constraints", Change::SetConstraints { service, constraints })
            }
            0..18 => {
                // Subordinates are nothing until they are related.
                let accompanied = self.rng.chance(300).then(|| "log".parse().unwrap());
                let other = accompanied.unwrap_or_else(|| self.service());
                ("add-relation", Change::AddRelation { one: end(service), other: end(other) })
            }
            18..20 => {
                let (force, other) = (self.rng.chance(200), self.service());
                let name = if force { "destroy-relation --force" } else { "destroy-relation" };
                (name, Change::DestroyRelation { one: end(service), other: end(other), force })
            }
            20..23 => ("set", Change::SetConfig { service, values: self.values() }),
            23 => ("unset", Change::UnsetConfig { service, keys: vec!["size".to_owned()], generated: IndexMap::new() }),
            24..26 => ("expose", self.expose(service)),
            26 => ("unexpose", Change::Unexpose { service }),
            27..29 => {
                let charm = self.charms.of(&service, self.rng);
                let (charm, digest, generated) = (charm.meta, charm.digest, IndexMap::new());
                let force = self.rng.chance(300);
                ("upgrade-charm", Change::UpgradeCharm(Box::new(Upgrade { service, charm, digest, generated, force })))
            }
            29..32 => ("resolved", self.resolve()?),
            32 => ("retry-provisioning", self.retry_provisioning()?),
            33..36 => ("destroy-unit", self.destroy_unit()?),
            36 => {
                let force = self.rng.chance(300);
                let name = if force { "destroy-service --force" } else { "destroy-service" };
                (name, Change::DestroyServices { services: vec![service], force })
            }
            37..39 => ("destroy-machine", self.destroy_machine()?),
            40..44 => ("run-action", self.run_action()?),
            44..46 => ("cancel-action", self.cancel_action()?),
            46 => ("backup", Change::BackUp),
            47..50 => ("machine", self.power()?),
            50 if !full => {
                let (from, constraints) = (self.machine()?, Constraints::default());
                let cloning = Cloning { from, count: 1, constraints, name: None };
                ("machine clone", Change::Machine(MachineChange::Clone(cloning)))
            }
            51 => {
                let snapshot = "monday".parse().unwrap();
                let machine = self.machine()?;
                ("machine restore", Change::Machine(MachineChange::Restore { machine, snapshot }))
            }
            _ => return None,
        })
    }

    fn machine(&mut self) -> Option<MachineId> {
        let machines: Vec<MachineId> = self.model.machines.keys().copied().collect();
        self.rng.pick(&machines).copied()
    }

    fn power(&mut self) -> Option<Change> {
        let machines = vec![self.machine()?];
        Some(Change::Machine(match self.rng.below(3) {
            0 => MachineChange::Stop { machines },
            1 => MachineChange::Start { again: machines.clone(), machines },
            _ => MachineChange::Restart { machines },
        }))
    }

    fn service(&mut self) -> ServiceName {
        let names: Vec<ServiceName> = self.model.services.keys().cloned().collect();
        let known = self.rng.chance(900).then(|| self.rng.pick(&names).cloned()).flatten();
        known.unwrap_or_else(|| self.any_name())
    }

    fn any_name(&mut self) -> ServiceName {
        SERVICES[self.rng.below(SERVICES.len() as u64) as usize].parse().unwrap()
    }

    fn deploy(&mut self) -> Change {
        let service = self.any_name();
        let charm = self.charms.of(&service, self.rng);
        let (units, placement) = if charm.meta.subordinate { (1, Placement::Automatic) } else { self.units() };
        Change::Deploy(Box::new(Deployment {
            service,
            charm: charm.meta,
            digest: charm.digest,
            units,
            placement,
            config: IndexMap::new(),
            generated: IndexMap::new(),
            constraints: Constraints::default(),
            expose: self.rng.chance(300),
        }))
    }

    fn units(&mut self) -> (u32, Placement) {
        let machines: Vec<MachineId> = self.model.machines.keys().copied().collect();
        match self.rng.below(6) {
            0 => (1, Placement::New),
            1..3 => (1, self.rng.pick(&machines).map_or(Placement::New, |machine| Placement::On(*machine))),
            3 => (1, self.rng.pick(&machines).map_or(Placement::New, |machine| Placement::Inside(*machine))),
            _ => (1 + self.rng.below(2) as u32, Placement::Automatic),
        }
    }

    fn values(&mut self) -> IndexMap<String, serde_json::Value> {
        let size = self.rng.below(1000).to_string();
        IndexMap::from([("size".to_owned(), size.as_str().into())])
    }

    fn expose(&mut self, service: ServiceName) -> Change {
        let port = Port { protocol: Protocol::Tcp, number: 80 };
        let mapping = PublishedMapping { host_port: 8000 + self.rng.below(3) as u16, port };
        let published = if self.rng.chance(300) { [mapping].into() } else { Default::default() };
        Change::Expose { service, published }
    }

    fn resolve(&mut self) -> Option<Change> {
        let failed: Vec<UnitName> =
            self.model.units.values().filter(|unit| unit.failed.is_some()).map(|unit| unit.name.clone()).collect();
        let unit = self.rng.pick(&failed)?.clone();
        Some(Change::Resolve { unit, retry: self.rng.chance(600) })
    }

    fn retry_provisioning(&mut self) -> Option<Change> {
        let failed = failed_machines(self.model);
        let machine = *self.rng.pick(&failed)?;
        Some(Change::RetryProvisioning { machines: vec![machine] })
    }

    fn run_action(&mut self) -> Option<Change> {
        let units: Vec<UnitName> = self.model.units.keys().cloned().collect();
        let unit = self.rng.pick(&units)?.clone();
        let name = self.rng.pick(&ACTIONS)?.parse().unwrap();
        let timeout = self.rng.chance(500).then(|| 1_000 + self.rng.below(60_000) as Millis);
        let by = "me: run-action".to_owned();
        Some(Change::QueueAction(Box::new(ActionCall { unit, name, params: IndexMap::new(), timeout, by })))
    }

    /// Mostly one that runs; sometimes one that is over.
    fn cancel_action(&mut self) -> Option<Change> {
        let (any, running) = (self.rng.chance(100), self.rng.chance(700));
        let actions = self.model.actions.values().filter(|action| match running {
            true => action.state.goes_on(),
            false => any || !action.state.is_over(),
        });
        let actions: Vec<ActionId> = actions.map(|action| action.id).collect();
        Some(Change::CancelActions { actions: vec![*self.rng.pick(&actions)?] })
    }

    fn destroy_unit(&mut self) -> Option<Change> {
        let units: Vec<UnitName> = self.model.units.keys().cloned().collect();
        let unit = self.rng.pick(&units)?.clone();
        Some(Change::DestroyUnits { units: vec![unit], force: self.rng.chance(350) })
    }

    fn destroy_machine(&mut self) -> Option<Change> {
        let machines: Vec<MachineId> = self.model.machines.keys().copied().collect();
        let machine = *self.rng.pick(&machines)?;
        Some(Change::DestroyMachines { machines: vec![machine], force: self.rng.chance(300) })
    }
}

pub fn failed_machines(model: &Model) -> Vec<MachineId> {
    let failed = |provision: &Provision| matches!(provision, Provision::Failed { .. });
    let alive = model.machines.values().filter(|machine| machine.life == Life::Alive);
    alive.filter(|machine| failed(&machine.provision)).map(|machine| machine.id).collect()
}

/// One line.
pub fn shown(name: &str, change: &Change) -> String {
    match change {
        Change::Deploy(asked) => {
            format!("{name} {} {} {:?} × {}", asked.digest, asked.service, asked.placement, asked.units)
        }
        Change::UpgradeCharm(asked) => format!("{name} {} {} force: {}", asked.service, asked.digest, asked.force),
        Change::QueueAction(asked) => format!("{name} {} {} within {:?}", asked.unit, asked.name, asked.timeout),
        other => format!("{name}: {other:?}"),
    }
}

fn end(service: ServiceName) -> EndpointRef {
    EndpointRef { service, endpoint: None }
}
