//! set-constraints, and whether constraints can be kept at all.

use super::super::constraints::Constraints;
use super::super::entities::{Life, Provision};
use super::super::event::Event;
use super::super::names::{MachineId, ServiceName};
use super::{ChangeError, Decider};

impl Decider<'_> {
    pub(super) fn set_constraints(
        &mut self,
        service: Option<ServiceName>,
        constraints: Constraints,
    ) -> Result<(), ChangeError> {
        let known = match &service {
            None => &self.model.constraints,
            Some(name) => {
                let found = self.service(name)?;
                if found.life != Life::Alive {
                    return Err(ChangeError::ConstraintsOfDying(name.clone()));
                }
                if self.model.is_subordinate(name) {
                    return Err(ChangeError::ConstraintsOfSubordinate);
                }
                &found.constraints
            }
        };
        self.satisfiable(&constraints)?;
        if *known != constraints {
            self.emit(Event::ConstraintsSet { service, constraints });
        }
        Ok(())
    }

    /// More memory or cores than the host has are no obstacle: a container then has all there is. Another processor is.
    pub(super) fn satisfiable(&self, constraints: &Constraints) -> Result<(), ChangeError> {
        let Some(Provision::Host { hardware, .. }) = self.model.machines.get(&MachineId::HOST).map(|m| &m.provision)
        else {
            return Ok(());
        };
        match &constraints.arch {
            Some(wanted) if !wanted.is_empty() && *wanted != hardware.arch && !hardware.arch.is_empty() => {
                Err(ChangeError::Arch { wanted: wanted.clone(), host: hardware.arch.clone() })
            }
            _ => Ok(()),
        }
    }
}
