//! Random operators take machines over and give them back.

use encanto::model::*;

use super::{SERVICES, World};

/// So many things are on the host.
const OTHERS: usize = 3;

impl World {
    /// Taken over, or, if it is ours already, given a unit of the service.
    pub fn adopt(&mut self, n: usize, service: usize) -> Result<(), ChangeError> {
        let name = format!("other-{}", n % OTHERS);
        let adopted = Adopted { kind: "lxc".into(), origin: Origin::Named(name) };
        let (series, constraints) = ("bookworm".to_owned(), Constraints::default());
        match self.change(Change::AdoptMachine(Box::new(Adoption { adopted, series, name: None, constraints }))) {
            Err(ChangeError::AlreadyAdopted { machine, .. }) => {
                let service = SERVICES[service % SERVICES.len()].parse().unwrap();
                self.change(Change::AddUnits { service, count: 1, placement: Placement::On(machine) })
            }
            other => other,
        }
    }

    pub fn release(&mut self, n: usize) -> Result<(), ChangeError> {
        let machines: Vec<MachineId> = self.model.machines.keys().copied().collect();
        self.change(Change::ReleaseMachines { machines: vec![machines[n % machines.len()]] })
    }

    /// Everything that is empty goes, each by its own word.
    pub fn clear_machines(&mut self) {
        let all = self.model.machines.values().filter(|machine| machine.id != MachineId::HOST);
        let (adopted, made): (Vec<&Machine>, Vec<&Machine>) = all.partition(|machine| machine.adopted.is_some());
        let ids = |machines: Vec<&Machine>| machines.iter().map(|machine| machine.id).collect::<Vec<MachineId>>();
        let (adopted, made) = (ids(adopted), ids(made));
        self.change(Change::DestroyMachines { machines: made, force: false }).unwrap();
        self.work_to_the_end();
        self.change(Change::ReleaseMachines { machines: adopted }).unwrap();
    }
}
