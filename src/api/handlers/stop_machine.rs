//! machine stop, start, restart

use async_trait::async_trait;

use crate::model::{Change, Event, MachineChange, MachineId};

use super::super::backend::{Asker, Backend};
use super::super::machines::{RestartMachine, StartMachine, StopMachine};
use super::super::requests::{Done, Refusal};
use super::super::server::Handle;
use super::{machines, not_lost};

#[async_trait]
impl Handle for StopMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machines = machines(&backend.model(), &self.machines)?;
        let change = MachineChange::Stop { machines: machines.clone() };
        let events = backend.commit(by, Change::Machine(change)).await?;
        Ok(told(&machines, &events, "is stopped already"))
    }
}

#[async_trait]
impl Handle for StartMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machines = machines(&backend.model(), &self.machines)?;
        not_lost(backend, &machines)?;
        let again = failing(backend, &machines);
        let change = MachineChange::Start { machines: machines.clone(), again };
        let events = backend.commit(by, Change::Machine(change)).await?;
        Ok(told(&machines, &events, "is started already"))
    }
}

#[async_trait]
impl Handle for RestartMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machines = machines(&backend.model(), &self.machines)?;
        not_lost(backend, &machines)?;
        let change = MachineChange::Restart { machines: machines.clone() };
        let events = backend.commit(by, Change::Machine(change)).await?;
        Ok(told(&machines, &events, "is being started already"))
    }
}

/// Those that are to run and do not, though it was tried.
fn failing(backend: &dyn Backend, machines: &[MachineId]) -> Vec<MachineId> {
    let (model, observed) = (backend.model(), backend.observed());
    let wanted = |id: &MachineId| model.machines.get(id).is_some_and(|machine| !machine.is_off());
    machines.iter().copied().filter(|id| wanted(id) && observed.trouble(*id).is_some()).collect()
}

/// What becomes of each; `already` of those that need nothing.
fn told(machines: &[MachineId], events: &[Event], already: &str) -> Done {
    let of = |id: &MachineId| {
        let what = events.iter().find_map(|event| match event {
            Event::MachineStopAsked { machine } if machine == id => Some("is being stopped"),
            Event::MachineStartAsked { machine } if machine == id => Some("is being started"),
            Event::MachineRestartAsked { machine } if machine == id => Some("is being restarted"),
            _ => None,
        });
        format!("machine {id} {}", what.unwrap_or(already))
    };
    Done { notes: machines.iter().map(of).collect(), targets: machines.iter().map(ToString::to_string).collect() }
}
