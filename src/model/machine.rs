//! What operators want of machines that are there: named, stopped, copied, set back; part of [`Model::apply`].

use super::entities::{Life, Machine, Power, Provision, Restore};
use super::event::Event;
use super::names::{MachineId, MachineName};
use super::state::Model;

impl Model {
    pub(super) fn apply_wish(&mut self, event: &Event) {
        match event {
            Event::MachineNamed { machine, name } => self.wish(*machine, |m| m.name = Some(name.clone())),
            Event::MachineCloned { machine, from } => {
                // Its disk is another's: no unit gets it that did not ask for it.
                self.unused.remove(machine);
                self.wish(*machine, |m| (m.copy_of, m.used) = (Some(*from), true));
                self.copy_is_due(*machine);
            }
            Event::MachineStopAsked { machine } => self.wish(*machine, |m| m.power = Power::Off),
            Event::MachineRestartAsked { machine } => self.wish(*machine, |m| m.power = Power::Restarting),
            Event::MachineStartAsked { machine } | Event::MachineHalted { machine } => {
                self.wish(*machine, |m| m.power = Power::Starting);
            }
            Event::MachineUp { machine } => self.wish(*machine, |m| m.power = Power::On),
            Event::MachineRestoreAsked { machine, snapshot } => {
                self.wish(*machine, |m| m.restore = Some(Restore::Due { snapshot: snapshot.clone() }));
            }
            Event::MachineRestored { machine, .. } => self.wish(*machine, |m| m.restore = None),
            Event::MachineRestoreFailed { machine, snapshot, message } => {
                let failed = Restore::Failed { snapshot: snapshot.clone(), message: message.clone() };
                self.wish(*machine, |m| m.restore = Some(failed));
            }
            // Snapshots are the provider's; these are for the history.
            _ => {}
        }
    }

    fn wish(&mut self, machine: MachineId, change: impl FnOnce(&mut Machine)) {
        if let Some(machine) = self.machines.get_mut(&machine) {
            change(machine);
        }
    }

    /// A copy that was asked for, or is tried again, has to be made before what it is made of may go; not one that is
    /// itself to go.
    pub(super) fn copy_is_due(&mut self, copy: MachineId) {
        let wanted = self.machines.get(&copy).filter(|machine| machine.life == Life::Alive);
        if let Some(from) = wanted.and_then(|machine| machine.copy_of) {
            self.wish(from, |m| m.copies_due.extend([copy]));
        }
    }

    /// It was made, could not be made, or is not wanted any more.
    pub(super) fn copy_is_over(&mut self, copy: MachineId) {
        if let Some(from) = self.machines.get(&copy).and_then(|machine| machine.copy_of) {
            self.wish(from, |m| m.copies_due.retain(|due| *due != copy));
        }
    }

    /// No other machine will have it.
    pub(super) fn number_is_given(&mut self, machine: MachineId) {
        self.next_machine = self.next_machine.max(machine.number() + 1);
        let host = machine.host().and_then(|host| self.machines.get_mut(&host));
        if let (Some(host), Some(number)) = (host, machine.container_number()) {
            host.next_container = host.next_container.max(number + 1);
        }
    }

    pub fn unused_machines(&self) -> impl Iterator<Item = &Machine> {
        self.unused.iter().filter_map(|id| self.machines.get(id))
    }

    /// The containers on a machine; a container has none.
    pub fn containers_of(&self, id: MachineId) -> impl Iterator<Item = &Machine> {
        id.containers().into_iter().flat_map(|ids| self.machines.range(ids).map(|(_, machine)| machine))
    }

    pub fn machine_named(&self, name: &MachineName) -> Option<&Machine> {
        self.machines.values().find(|machine| machine.name.as_ref() == Some(name))
    }

    /// Whether there is what the machine is to be made of: of a copy, the machine that it is a copy of.
    pub fn can_be_made(&self, machine: &Machine) -> bool {
        let whole = |from: &Machine| from.life == Life::Alive && matches!(from.provision, Provision::Running { .. });
        machine.copy_of.is_none_or(|from| self.machines.get(&from).is_some_and(whole))
    }
}
