//! machine stop, start, restart, clone and restore, and what workers report of them.

use super::super::constraints::Constraints;
use super::super::entities::{Life, Machine, Power, Provision, Restore};
use super::super::event::Event;
use super::super::kinds::{INSIDE, KindError};
use super::super::names::{MachineId, MachineName, SnapshotName, UnitName};
use super::deploy::check_count;
use super::{ChangeError, Decider, Placement};

/// Something asked of machines that are there.
#[derive(Clone, Debug)]
pub enum MachineChange {
    Stop {
        machines: Vec<MachineId>,
    },
    Start {
        machines: Vec<MachineId>,
        /// Those of them that are to run, and were seen not to: what failed with them is tried again now.
        again: Vec<MachineId>,
    },
    Restart {
        machines: Vec<MachineId>,
    },
    Clone(Cloning),
    Restore {
        machine: MachineId,
        snapshot: SnapshotName,
    },

    /// One that is to be restarted does not run any more.
    Halted {
        machine: MachineId,
    },
    /// One that was to be started runs.
    Up {
        machine: MachineId,
    },
    /// With the words of what went wrong, if it did.
    Restored {
        machine: MachineId,
        snapshot: SnapshotName,
        failure: Option<String>,
    },
    /// For the history: snapshots are the provider's.
    SnapshotTaken {
        machine: MachineId,
        snapshot: SnapshotName,
    },
    SnapshotDropped {
        machine: MachineId,
        snapshot: SnapshotName,
    },
}

#[derive(Clone, Debug)]
pub struct Cloning {
    pub from: MachineId,
    pub count: u32,
    /// What is not said here is as it is in the other.
    pub constraints: Constraints,
    pub name: Option<MachineName>,
}

/// Why nothing is done with a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    #[error("cannot {verb} machine {machine}: it is this host")]
    Host { verb: &'static str, machine: MachineId },
    #[error("cannot {verb} machine {machine}: it is not there yet")]
    NotThere { verb: &'static str, machine: MachineId },
    #[error("cannot {verb} machine {machine}: machine is not alive")]
    NotAlive { verb: &'static str, machine: MachineId },
    #[error("cannot {verb} machine {machine}: unit \"{unit}\" is being removed")]
    Farewell { verb: &'static str, machine: MachineId, unit: UnitName },
    #[error("cannot {verb} machine {machine}: it was adopted, and its disk is not the environment's")]
    Adopted { verb: &'static str, machine: MachineId },
    #[error("cannot {verb} machine {machine}: it is being restored")]
    BeingRestored { verb: &'static str, machine: MachineId },
    #[error("cannot name a machine \"{name}\": machine {machine} is named so")]
    NameTaken { name: MachineName, machine: MachineId },
    #[error("cannot name a machine \"{0}\": that is a kind of machines")]
    NameOfKind(MachineName),
    #[error("cannot give several machines one name")]
    SeveralNamed,
    #[error("cannot clone machine {machine} as another kind of machine")]
    OtherKind { machine: MachineId },
    #[error("cannot make machine {machine}: machine {from}, which it is a copy of, is gone")]
    OriginGone { machine: MachineId, from: MachineId },
}

impl Decider<'_> {
    pub(super) fn machine_change(&mut self, change: MachineChange) -> Result<(), ChangeError> {
        match change {
            MachineChange::Stop { machines } => self.stop_machines(&machines),
            MachineChange::Start { machines, again } => self.start_machines(&machines, &again),
            MachineChange::Restart { machines } => self.restart_machines(&machines),
            MachineChange::Clone(cloning) => self.clone_machine(&cloning),
            MachineChange::Restore { machine, snapshot } => self.restore_machine(machine, snapshot),
            MachineChange::Halted { machine } => self.reached(machine, Power::Restarting),
            MachineChange::Up { machine } => self.reached(machine, Power::Starting),
            MachineChange::Restored { machine, snapshot, failure } => self.restored(machine, snapshot, failure),
            MachineChange::SnapshotTaken { machine, snapshot } => {
                self.standing("snapshot", machine)?;
                self.emit(Event::SnapshotTaken { machine, snapshot });
                Ok(())
            }
            MachineChange::SnapshotDropped { machine, snapshot } => {
                self.standing("snapshot", machine)?;
                self.emit(Event::SnapshotDropped { machine, snapshot });
                Ok(())
            }
        }
    }

    /// The machine, if it is there and stays.
    fn standing(&self, verb: &'static str, id: MachineId) -> Result<&Machine, ChangeError> {
        let machine = self.model.machines.get(&id).ok_or(ChangeError::NoMachine(id))?;
        let refused = match (&machine.provision, machine.life) {
            (Provision::Host { .. }, _) => MachineError::Host { verb, machine: id },
            (_, Life::Dying) => MachineError::NotAlive { verb, machine: id },
            (Provision::Pending | Provision::Failed { .. }, _) => MachineError::NotThere { verb, machine: id },
            (Provision::Running { .. }, Life::Alive) => return Ok(machine),
        };
        Err(refused.into())
    }

    /// What is being removed still has hooks to run, for which the machine must be up.
    fn stop_machines(&mut self, machines: &[MachineId]) -> Result<(), ChangeError> {
        for id in machines {
            let machine = self.standing("stop", *id)?;
            let leaving = machine.units.iter().filter_map(|unit| self.model.units.get(unit));
            if let Some(unit) = leaving.into_iter().find(|unit| unit.life == Life::Dying) {
                let unit = unit.name.clone();
                return Err(MachineError::Farewell { verb: "stop", machine: *id, unit }.into());
            }
        }
        self.ask_of(machines, |power| power != Power::Off, |machine| Event::MachineStopAsked { machine });
        Ok(())
    }

    fn start_machines(&mut self, machines: &[MachineId], again: &[MachineId]) -> Result<(), ChangeError> {
        for id in machines.iter().chain(again) {
            self.standing("start", *id)?;
        }
        self.ask_of(machines, |power| power == Power::Off, |machine| Event::MachineStartAsked { machine });
        // One that is being restarted is stopped first.
        let wanted = |power| matches!(power, Power::On | Power::Starting);
        self.ask_of(again, wanted, |machine| Event::MachineStartAsked { machine });
        Ok(())
    }

    /// One that stands still is started, as other programs have it; one that is about to be needs no more.
    fn restart_machines(&mut self, machines: &[MachineId]) -> Result<(), ChangeError> {
        for id in machines {
            self.standing("restart", *id)?;
        }
        self.ask_of(machines, |power| power == Power::On, |machine| Event::MachineRestartAsked { machine });
        self.ask_of(machines, |power| power == Power::Off, |machine| Event::MachineStartAsked { machine });
        Ok(())
    }

    fn ask_of(&mut self, machines: &[MachineId], whom: impl Fn(Power) -> bool, event: impl Fn(MachineId) -> Event) {
        for id in machines {
            if self.model.machines.get(id).is_some_and(|machine| whom(machine.power)) {
                self.emit(event(*id));
            }
        }
    }

    /// A unit that goes runs its last hooks, wherever it is.
    pub(super) fn start_for_farewell(&mut self, machine: MachineId) {
        self.ask_of(&[machine], |power| power == Power::Off, |machine| Event::MachineStartAsked { machine });
    }

    fn clone_machine(&mut self, cloning: &Cloning) -> Result<(), ChangeError> {
        check_count(cloning.count, &Placement::New)?;
        let from = self.standing("clone", cloning.from)?;
        if from.adopted.is_some() {
            return Err(MachineError::Adopted { verb: "clone", machine: cloning.from }.into());
        }
        let (series, constraints) = (from.series.clone(), cloning.constraints.over(&from.constraints));
        if (&constraints.virt_type, &constraints.container)
            != (&from.constraints.virt_type, &from.constraints.container)
        {
            return Err(MachineError::OtherKind { machine: cloning.from }.into());
        }
        self.satisfiable(&constraints)?;
        self.name_is_free(cloning.name.as_ref(), cloning.count)?;
        for _ in 0..cloning.count {
            let machine = MachineId::new(self.model.next_machine);
            let (series, constraints) = (series.clone(), constraints.clone());
            self.emit(Event::MachineAdded { machine, series, constraints });
            self.emit(Event::MachineCloned { machine, from: cloning.from });
            self.name_machine(machine, cloning.name.as_ref());
        }
        Ok(())
    }

    pub(super) fn name_is_free(&self, name: Option<&MachineName>, count: u32) -> Result<(), ChangeError> {
        let Some(name) = name else { return Ok(()) };
        if count > 1 {
            return Err(MachineError::SeveralNamed.into());
        }
        let kind = self.model.kinds.named(name.as_str());
        if name.as_str() == INSIDE || !matches!(kind, Err(KindError::Unknown { .. })) {
            return Err(MachineError::NameOfKind(name.clone()).into());
        }
        match self.model.machine_named(name) {
            Some(holder) => Err(MachineError::NameTaken { name: name.clone(), machine: holder.id }.into()),
            None => Ok(()),
        }
    }

    pub(super) fn name_machine(&mut self, machine: MachineId, name: Option<&MachineName>) {
        if let Some(name) = name {
            self.emit(Event::MachineNamed { machine, name: name.clone() });
        }
    }

    /// Another wish to restore takes the place of the one before, unless that is being carried out.
    fn restore_machine(&mut self, machine: MachineId, snapshot: SnapshotName) -> Result<(), ChangeError> {
        if let Some(Restore::Due { .. }) = self.standing("restore", machine)?.restore {
            return Err(MachineError::BeingRestored { verb: "restore", machine }.into());
        }
        self.emit(Event::MachineRestoreAsked { machine, snapshot });
        Ok(())
    }

    /// A report on what an operator has changed his mind about meanwhile is outdated.
    fn reached(&mut self, machine: MachineId, from: Power) -> Result<(), ChangeError> {
        if self.model.machines.get(&machine).is_none_or(|known| known.power != from) {
            return Err(ChangeError::Outdated(format!("that wish for machine {machine}")));
        }
        self.emit(match from {
            Power::Restarting => Event::MachineHalted { machine },
            _ => Event::MachineUp { machine },
        });
        Ok(())
    }

    fn restored(
        &mut self,
        machine: MachineId,
        snapshot: SnapshotName,
        failure: Option<String>,
    ) -> Result<(), ChangeError> {
        let due = Some(Restore::Due { snapshot: snapshot.clone() });
        if self.model.machines.get(&machine).is_none_or(|known| known.restore != due) {
            return Err(ChangeError::Outdated(format!("that wish for machine {machine}")));
        }
        self.emit(match failure {
            None => Event::MachineRestored { machine, snapshot },
            Some(message) => Event::MachineRestoreFailed { machine, snapshot, message },
        });
        Ok(())
    }
}
