//! What is due for a machine.

use crate::model::{
    Adopted, Charm, CharmUrl, Constraints, Life, Machine, MachineId, MachineWork, Millis, Model, Power, Provision,
    Restore, Sighting, SnapshotName, Trouble,
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
    /// Made with what another has on its disk.
    Clone(Box<Copying>),
    /// The instance was stopped behind our back, or the host was rebooted, or an operator wants it to run again.
    Start {
        instance: String,
    },
    /// An operator wants it to stand still, for now or for longer.
    Stop {
        instance: String,
    },
    /// It is to be restarted, and does not run any more: say so, so that it is not stopped once more.
    Halted,
    /// It was to be started, and is: say so. One that is lost will not be any better.
    Up,
    Restore {
        instance: String,
        snapshot: SnapshotName,
    },
    Destroy {
        instance: Option<String>,
    },
    /// What was adopted is somebody's, however it is to go.
    Release {
        instance: Option<String>,
    },
}

/// What a copy is made of, and as.
#[derive(Clone, Debug, PartialEq)]
pub struct Copying {
    pub from: MachineId,
    pub instance: String,
    pub series: String,
    pub constraints: Constraints,
    /// The charm whose prepared software the other was born with.
    pub prepared: Option<CharmUrl>,
}

impl MachineStep {
    pub fn work(&self) -> MachineWork {
        match self {
            MachineStep::Create { .. } | MachineStep::Clone(_) => MachineWork::Create,
            MachineStep::Adopt { .. } => MachineWork::Adopt,
            MachineStep::Start { .. } | MachineStep::Up => MachineWork::Start,
            MachineStep::Stop { .. } | MachineStep::Halted => MachineWork::Stop,
            MachineStep::Restore { .. } => MachineWork::Restore,
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
    if !model.can_be_made(machine) {
        return None;
    }
    matches!(machine.provision, Provision::Failed { .. })
        .then(|| patience::left(trouble, making(machine), now).unwrap_or(0))
}

/// What is done so that the machine is there for the first time.
pub fn making(machine: &Machine) -> MachineWork {
    if machine.adopted.is_some() { MachineWork::Adopt } else { MachineWork::Create }
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
        let empty = empty && machine.copies_due.is_empty();
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
        (Provision::Pending, _, None) if machine.copy_of.is_some() => copying(model, machine),
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
        (Provision::Running { instance, .. }, Some(sighting), _) => wished(machine, instance, sighting),
        _ => None,
    }
}

fn copying(model: &Model, machine: &Machine) -> Option<MachineStep> {
    let from = model.machines.get(&machine.copy_of?)?;
    let Provision::Running { instance, prepared, .. } = &from.provision else { return None };
    Some(MachineStep::Clone(Box::new(Copying {
        from: from.id,
        instance: instance.clone(),
        series: machine.series.clone(),
        constraints: machine.constraints.clone(),
        prepared: prepared.clone(),
    })))
}

/// What is to be done with an instance so that it is as an operator wants it. Whatever is cut off is found as it was
/// left and goes on from there; so a machine is never restarted twice.
fn wished(machine: &Machine, instance: &str, sighting: Sighting) -> Option<MachineStep> {
    let instance = instance.to_owned();
    if let Some(Restore::Due { snapshot }) = &machine.restore {
        return Some(MachineStep::Restore { instance, snapshot: snapshot.clone() });
    }
    match (machine.power, sighting) {
        // Starting what runs and stopping what does not is no harm.
        (Power::Off | Power::Restarting, Sighting::Running | Sighting::Unknown) => Some(MachineStep::Stop { instance }),
        (Power::Restarting, Sighting::Stopped | Sighting::Missing) => Some(MachineStep::Halted),
        (Power::On | Power::Starting, Sighting::Stopped | Sighting::Unknown) => Some(MachineStep::Start { instance }),
        (Power::Starting, Sighting::Running | Sighting::Missing) => Some(MachineStep::Up),
        (Power::On, Sighting::Running | Sighting::Missing) | (Power::Off, Sighting::Stopped | Sighting::Missing) => {
            None
        }
    }
}
