//! What is due for a machine.

use crate::model::{Charm, Constraints, Life, MachineId, Model, Provision, Sighting};

#[derive(Clone, Debug, PartialEq)]
pub enum MachineStep {
    Create {
        series: String,
        constraints: Constraints,
        /// The charm whose prepared software the machine is to be born with.
        charm: Option<Box<Charm>>,
    },
    /// The instance was stopped behind our back, or the host was rebooted.
    Start {
        instance: String,
    },
    Destroy {
        instance: Option<String>,
    },
}

/// The next step for a machine, given how its instance was last seen; `None` when it is as it should be.
pub fn next(model: &Model, id: MachineId, sighting: Option<Sighting>) -> Option<MachineStep> {
    let machine = model.machines.get(&id)?;
    let instance = match &machine.provision {
        Provision::Host { .. } => return None,
        Provision::Running { instance, .. } => Some(instance.clone()),
        Provision::Pending | Provision::Failed { .. } => None,
    };
    if machine.life == Life::Dying {
        // Units of a dying machine are gone already; whoever is left would lose the ground under its feet.
        let empty = machine.units.is_empty() && model.containers_of(id).next().is_none();
        return empty.then_some(MachineStep::Destroy { instance });
    }
    match (&machine.provision, sighting) {
        (Provision::Pending, _) => {
            let first = model.principals_on(machine).next();
            let charm = first.and_then(|unit| model.charm_of(unit)).filter(|charm| charm.meta.prepares);
            let charm = charm.map(|charm| Box::new(charm.clone()));
            Some(MachineStep::Create {
                series: machine.series.clone(),
                constraints: machine.constraints.clone(),
                charm,
            })
        }
        (Provision::Running { instance, .. }, Some(Sighting::Stopped)) => {
            Some(MachineStep::Start { instance: instance.clone() })
        }
        _ => None,
    }
}
