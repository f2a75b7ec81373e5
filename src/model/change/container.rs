//! Containers on machines: `--to lxc:1`, `add-machine lxc:1`.

use super::super::constraints::Constraints;
use super::super::entities::Life;
use super::super::event::Event;
use super::super::names::{MachineId, MachineName};
use super::deploy::check_count;
use super::{ChangeError, Decider, Placement};

impl Decider<'_> {
    pub(super) fn add_containers(
        &mut self,
        machine: MachineId,
        (count, name): (u32, Option<MachineName>),
        constraints: &Constraints,
    ) -> Result<(), ChangeError> {
        check_count(count, &Placement::New)?;
        self.name_is_free(name.as_ref(), count)?;
        self.can_host(machine)?;
        self.satisfiable(constraints)?;
        let constraints = self.fitted(constraints, &Placement::Inside(machine))?;
        let series = self.model.series.clone();
        for _ in 0..count {
            let container = self.new_container(machine, &series, &constraints);
            self.name_machine(container, name.as_ref());
        }
        Ok(())
    }

    pub(super) fn can_host(&self, machine: MachineId) -> Result<(), ChangeError> {
        let found = self.model.machines.get(&machine).ok_or(ChangeError::NoMachine(machine))?;
        let reason = if machine.host().is_some() {
            "it is a container itself, and a container cannot hold containers"
        } else if found.life != Life::Alive {
            "machine is not alive"
        } else {
            return Ok(());
        };
        Err(ChangeError::CannotHost { machine, reason })
    }

    /// `machine` can host, and `constraints` fit.
    pub(super) fn new_container(&mut self, machine: MachineId, series: &str, constraints: &Constraints) -> MachineId {
        let next = self.model.machines.get(&machine).map(|machine| machine.next_container).unwrap_or_default();
        let container = machine.container(next);
        let (series, constraints) = (series.to_owned(), constraints.clone());
        self.emit(Event::MachineAdded { machine: container, series, constraints });
        container
    }
}
