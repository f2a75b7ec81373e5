//! What is seen of the world and what workers are doing now: true for this moment only, never in the journal.

use std::collections::BTreeMap;
use std::fmt;

use super::entities::Millis;
use super::hook::Hook;
use super::names::{ActionId, ActionName, MachineId, UnitName};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Why nothing can be provisioned yet (the base image is being built, …).
    pub opening: Option<String>,
    /// Opening failed: `opening` has the provider's words. It is tried again from time to time.
    pub opening_failed: bool,
    /// Why nothing can be written down for good, as long as that is so.
    pub journal_fault: Option<String>,
    /// What is wrong with what all machines share (bridge, names, firewall), while it is being put right.
    pub disturbance: Option<String>,
    /// It could not be put right so far.
    pub mending_failed: bool,
    /// Milliseconds until a failed hook is run again by itself for the first time; `None` leaves that to the operator.
    pub retry_hooks: Option<Millis>,
    /// The host that the machines are on, if it is not the controller's.
    pub elsewhere: Option<String>,
    /// Machines with which something failed, until it succeeds or they stay up for a while.
    pub troubles: BTreeMap<MachineId, Trouble>,
    /// Machines whose instance was looked for. A running machine that is absent here was not looked at yet.
    pub instances: BTreeMap<MachineId, Sighting>,
    /// What is being done to a machine, for `agent-state-info`.
    pub machine_activity: BTreeMap<MachineId, String>,
    /// What is being done for a unit.
    pub unit_activity: BTreeMap<UnitName, UnitActivity>,
}

/// What holds a unit's machine, or waits for it. Reads as what is shown of the unit meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitActivity {
    Hook(Hook),
    Action {
        id: ActionId,
        name: ActionName,
    },
    Command,
    /// An operator has the hook in his hands.
    Debugged(Hook),
    /// One at a time on a machine: what the words name comes first.
    Turn {
        machine: MachineId,
        first: String,
    },
}

impl fmt::Display for UnitActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnitActivity::Hook(hook) => write!(f, "running {hook}"),
            UnitActivity::Action { id, name } => write!(f, "running action {name} ({id})"),
            UnitActivity::Command => f.write_str("running a command"),
            UnitActivity::Debugged(hook) => write!(f, "debug-hooks: waits for the operator at hook {hook}"),
            UnitActivity::Turn { machine, first } => write!(f, "waits for {first} on machine {machine}"),
        }
    }
}

/// Attempts in a row that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub work: MachineWork,
    pub failures: u32,
    /// When the last attempt ended, and from when on there may be another.
    pub last: Millis,
    pub next: Millis,
    /// What the last failure said.
    pub words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineWork {
    Create,
    Adopt,
    Start,
    Stop,
    Restore,
    Destroy,
    Release,
}

impl Observed {
    /// What stands in a machine's way still. What it was like before it ran again is nobody's worry.
    pub fn trouble(&self, id: MachineId) -> Option<&Trouble> {
        let runs = self.instances.get(&id) == Some(&Sighting::Running);
        let stopped = self.instances.get(&id) == Some(&Sighting::Stopped);
        let done = |work: MachineWork| match work {
            MachineWork::Start => runs,
            MachineWork::Stop => stopped,
            _ => false,
        };
        let stands = |trouble: &&Trouble| trouble.failures > 0 && !done(trouble.work);
        self.troubles.get(&id).filter(stands)
    }

    /// Why a machine could not be made, if it is asked for again by itself.
    pub fn creation_trouble(&self, id: MachineId) -> Option<&Trouble> {
        let making = |trouble: &&Trouble| matches!(trouble.work, MachineWork::Create | MachineWork::Adopt);
        self.retry_hooks?;
        self.trouble(id).filter(making)
    }

    /// As if this work had never failed: an operator asks for it again.
    pub fn forget_troubles(&mut self, machines: &[MachineId], work: MachineWork) {
        self.troubles.retain(|id, trouble| trouble.work != work || !machines.contains(id));
    }

    /// Whether all that is wrong with the host is being put right at this moment.
    pub fn being_mended(&self) -> bool {
        self.journal_fault.is_none() && !self.opening_failed && self.disturbance.is_some() && !self.mending_failed
    }

    /// Why the host is not as it should be, in words.
    pub fn host_fault(&self) -> Option<&String> {
        let opening = self.opening.as_ref().filter(|_| self.opening_failed);
        self.journal_fault.as_ref().or(opening).or(self.disturbance.as_ref())
    }
}

impl MachineWork {
    /// `machine 1 cannot be …`
    pub fn participle(self) -> &'static str {
        match self {
            MachineWork::Create => "created",
            MachineWork::Adopt => "adopted",
            MachineWork::Start => "started",
            MachineWork::Stop => "stopped",
            MachineWork::Restore => "restored",
            MachineWork::Destroy => "destroyed",
            MachineWork::Release => "released",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    Running,
    Stopped,
    Missing,
    /// What was done to it failed half-way, and nobody has seen since what became of it.
    Unknown,
}

impl Sighting {
    pub fn as_str(self) -> &'static str {
        match self {
            Sighting::Running => "running",
            Sighting::Stopped => "stopped",
            Sighting::Missing => "missing",
            Sighting::Unknown => "unknown",
        }
    }
}
