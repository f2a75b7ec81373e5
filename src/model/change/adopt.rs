//! `machine adopt`, `machine release`.

use super::super::adoption::{Adopted, Origin};
use super::super::constraints::Constraints;
use super::super::event::Event;
use super::super::names::{MachineId, MachineName};
use super::{ChangeError, Decider, MachineRefusal};

/// What is taken over, as it was found.
#[derive(Clone, Debug)]
pub struct Adoption {
    pub adopted: Adopted,
    /// The release that is in it.
    pub series: String,
    /// What it is to be called beside its number.
    pub name: Option<MachineName>,
    /// Of a folder, which gets a container made for it; what is there already has limits of its own.
    pub constraints: Constraints,
}

impl Decider<'_> {
    pub(super) fn adopt_machine(&mut self, adoption: Adoption) -> Result<(), ChangeError> {
        let Adoption { adopted, series, name, constraints } = adoption;
        let held = self.model.machines.values().find(|m| m.adopted.as_ref().is_some_and(|held| held.is(&adopted)));
        if let Some(holder) = held {
            return Err(ChangeError::AlreadyAdopted { what: adopted.to_string(), machine: holder.id });
        }
        self.satisfiable(&constraints)?;
        self.name_is_free(name.as_ref(), 1)?;
        let limits = match adopted.origin {
            Origin::Folder(_) => constraints.over(&self.model.constraints),
            Origin::Named(_) => Constraints::default(),
        };
        let constraints = Constraints { virt_type: Some(adopted.kind.clone()), container: None, ..limits };
        let machine = MachineId::new(self.model.next_machine);
        self.emit(Event::MachineAdopted { machine, series, constraints, adopted });
        self.name_machine(machine, name.as_ref());
        Ok(())
    }

    /// The way out is that of any machine; at its end nothing is destroyed but given back
    /// (`plan::provision`).
    pub(super) fn release_machines(&mut self, machines: &[MachineId]) -> Result<(), ChangeError> {
        let mut refused = Vec::new();
        for id in machines {
            match self.model.machines.get(id) {
                None => refused.push(MachineRefusal::Missing(*id)),
                Some(_) if *id == MachineId::HOST => refused.push(MachineRefusal::Required(*id)),
                Some(machine) if machine.adopted.is_none() => refused.push(MachineRefusal::OwnMake(*id)),
                Some(machine) => refused.extend(self.what_holds(machine, machines)),
            }
        }
        if !refused.is_empty() {
            return Err(ChangeError::NoMachinesReleased(refused));
        }
        for id in machines {
            self.destroy_machine(*id);
        }
        Ok(())
    }

    /// Whether a machine is somebody's: only force takes it out of the environment by a word that says destroy.
    pub(super) fn not_ours(&self, id: MachineId) -> Option<MachineRefusal> {
        let adopted = self.model.machines.get(&id)?.adopted.as_ref()?;
        Some(MachineRefusal::Adopted { machine: id, what: adopted.to_string() })
    }
}
