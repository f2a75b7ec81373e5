//! Random operators stop, start, copy and set machines back; what the workers do with any machine, and report.

use encanto::model::*;
use encanto::plan::hooks;
use encanto::plan::provision::{self, MachineStep};

use super::World;

impl World {
    pub fn due_for(&self, id: MachineId) -> Option<MachineStep> {
        provision::next(&self.model, id, self.seen.get(&id).copied())
    }

    pub fn power(&mut self, machine: MachineId, what: usize) -> Result<(), ChangeError> {
        let machines = vec![machine];
        self.change(Change::Machine(match what {
            0 => MachineChange::Stop { machines },
            1 => MachineChange::Start { again: machines.clone(), machines },
            _ => MachineChange::Restart { machines },
        }))
    }

    pub fn clone_of(&mut self, from: MachineId) -> Result<(), ChangeError> {
        let cloning = Cloning { from, count: 1, constraints: Constraints::default(), name: None };
        self.change(Change::Machine(MachineChange::Clone(cloning)))
    }

    pub fn restore(&mut self, machine: MachineId) -> Result<(), ChangeError> {
        let snapshot = "monday".parse().unwrap();
        self.change(Change::Machine(MachineChange::Restore { machine, snapshot }))
    }

    /// Carries a step out. What is told of it; `None` if nothing is.
    pub fn report(&mut self, machine: MachineId, step: MachineStep) -> Option<Change> {
        let up = |prepared| Change::MachineProvisioned {
            machine,
            instance: format!("i-{machine}"),
            address: std::net::Ipv4Addr::new(10, 0, 1, machine.number() as u8),
            hardware: HardwareFacts::default(),
            prepared,
        };
        let (sighting, report) = match step {
            MachineStep::Create { charm, .. } => (Sighting::Running, Some(up(charm.map(|charm| charm.url)))),
            MachineStep::Clone(copying) => (Sighting::Running, Some(up(copying.prepared))),
            MachineStep::Adopt { .. } => (Sighting::Running, Some(up(None))),
            MachineStep::Start { .. } => (Sighting::Running, None),
            MachineStep::Stop { .. } => {
                self.nothing_is_due_on(machine);
                (Sighting::Stopped, None)
            }
            MachineStep::Halted => (Sighting::Stopped, Some(Change::Machine(MachineChange::Halted { machine }))),
            MachineStep::Up => (Sighting::Running, Some(Change::Machine(MachineChange::Up { machine }))),
            MachineStep::Restore { snapshot, .. } => {
                self.nothing_is_due_on(machine);
                let failure = machine.number().is_multiple_of(2).then(|| "no such snapshot".to_owned());
                let change = MachineChange::Restored { machine, snapshot, failure };
                (self.seen[&machine], Some(Change::Machine(change)))
            }
            MachineStep::Destroy { .. } | MachineStep::Release { .. } => {
                let copied = |other: &Machine| other.copy_of == Some(machine) && other.provision == Provision::Pending;
                assert!(
                    !self.model.machines.values().any(|m| copied(m) && m.life == Life::Alive),
                    "{machine} is copied"
                );
                (Sighting::Missing, Some(Change::MachineGone { machine }))
            }
        };
        self.seen.insert(machine, sighting);
        report
    }

    /// Whoever stops a machine, or changes its disk, has it for himself.
    fn nothing_is_due_on(&self, machine: MachineId) {
        for unit in &self.model.machines[&machine].units {
            assert_eq!(hooks::next(&self.model, unit), None, "{unit} on {machine}");
            assert!(!self.model.is_ready_for_actions(&self.model.units[unit]), "{unit} on {machine}");
        }
    }
}
