//! set-constraints, and whether constraints can be kept at all.

use super::super::constraints::Constraints;
use super::super::entities::{Life, Provision};
use super::super::event::Event;
use super::super::kinds::{INSIDE, Kinds};
use super::super::names::{MachineId, ServiceName};
use super::{ChangeError, Decider, Placement};

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

    /// What a new machine is made with where `own` is asked of it, what it is among it.
    pub(super) fn fitted(&self, own: &Constraints, placement: &Placement) -> Result<Constraints, ChangeError> {
        let mut constraints = own.over(&self.model.constraints);
        let kinds = &self.model.kinds;
        constraints.virt_type = match placement {
            Placement::Kind(word) => kinds.placed(word, &constraints)?,
            Placement::Inside(_) => kinds.placed(INSIDE, &constraints)?,
            Placement::Automatic | Placement::New | Placement::On(_) => kinds.wanted(&constraints)?,
        };
        if matches!(placement, Placement::Kind(_) | Placement::Inside(_)) {
            // Its place was named for this one machine, and goes before what is said of all.
            constraints.container = None;
        }
        Ok(constraints)
    }

    pub(super) fn kinds_found(&mut self, kinds: Kinds) {
        if self.model.kinds != kinds {
            self.emit(Event::KindsFound { kinds });
        }
    }

    /// More memory or cores than the host has are no obstacle: a container then has all there is. Another processor is,
    /// and a kind of machines that is not made here.
    pub(super) fn satisfiable(&self, constraints: &Constraints) -> Result<(), ChangeError> {
        self.model.kinds.wanted(constraints)?;
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
