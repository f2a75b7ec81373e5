//! What is due for a machine.

use crate::model::{
    Adopted, Charm, Constraints, Life, MachineId, MachineWork, Millis, Model, Provision, Sighting, Trouble,
};

use super::patience;

#[derive(Clone, Debug, PartialEq)]
pub enum MachineStep {
    Create {
        series: String,
        constraints: Constraints,
        /// The charm whose prepared software the machine is to be born with.
        charm: Option<Box<Charm>>,
    },
    /// It is there already.
    Adopt {
        series: String,
        constraints: Constraints,
        adopted: Adopted,
    },
    /// The instance was stopped behind our back, or the host was rebooted.
    Start {
        instance: String,
    },
    Destroy {
        instance: Option<String>,
    },
    /// What was adopted is somebody's, however it is to go.
    Release {
        instance: Option<String>,
    },
}

impl MachineStep {
    pub fn work(&self) -> MachineWork {
        match self {
            MachineStep::Create { .. } => MachineWork::Create,
            MachineStep::Adopt { .. } => MachineWork::Adopt,
            MachineStep::Start { .. } => MachineWork::Start,
            MachineStep::Destroy { .. } => MachineWork::Destroy,
            MachineStep::Release { .. } => MachineWork::Release,
        }
    }

    /// How long the step has to wait because it failed before. A creation never: whoever wants it again, wants it now.
    pub fn wait(&self, trouble: Option<&Trouble>, now: Millis) -> Option<Millis> {
        match self.work() {
            MachineWork::Create | MachineWork::Adopt => None,
            work => patience::left(trouble, work, now),
        }
    }
}

/// When a machine that could not be created is to be tried again; zero is now. `None` if that is not what it waits for.
pub fn retry_creation(model: &Model, id: MachineId, trouble: Option<&Trouble>, now: Millis) -> Option<Millis> {
    let machine = model.machines.get(&id).filter(|machine| machine.life == Life::Alive)?;
    let work = if machine.adopted.is_some() { MachineWork::Adopt } else { MachineWork::Create };
    matches!(machine.provision, Provision::Failed { .. }).then(|| patience::left(trouble, work, now).unwrap_or(0))
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
        return empty.then_some(match machine.adopted {
            Some(_) => MachineStep::Release { instance },
            None => MachineStep::Destroy { instance },
        });
    }
    match (&machine.provision, sighting, &machine.adopted) {
        (Provision::Pending, _, Some(adopted)) => Some(MachineStep::Adopt {
            series: machine.series.clone(),
            constraints: machine.constraints.clone(),
            adopted: adopted.clone(),
        }),
        (Provision::Pending, _, None) => {
            let first = model.principals_on(machine).next();
            let charm = first.and_then(|unit| model.charm_of(unit)).filter(|charm| charm.meta.prepares);
            let charm = charm.map(|charm| Box::new(charm.clone()));
            Some(MachineStep::Create {
                series: machine.series.clone(),
                constraints: machine.constraints.clone(),
                charm,
            })
        }
        (Provision::Running { instance, .. }, Some(Sighting::Stopped), _) => {
            Some(MachineStep::Start { instance: instance.clone() })
        }
        _ => None,
    }
}
