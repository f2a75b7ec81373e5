//! machine list

use async_trait::async_trait;

use crate::model::{MachineId, Provision};

use super::super::backend::{Asker, Backend};
use super::super::machines::{ListMachines, MachineEntry, MachineList};
use super::super::requests::Refusal;
use super::super::server::Handle;
use super::status::machine_status;

#[async_trait]
impl Handle for ListMachines {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<MachineList, Refusal> {
        let ids: Vec<MachineId> = backend.model().machines.keys().copied().collect();
        let mut machines = Vec::new();
        for id in ids {
            let Some(entry) = entry(backend, id) else { continue };
            // A machine whose kind keeps none is listed all the same, and one whose instance is lost.
            let snapshots = backend.snapshots(id).await.ok().map(|snapshots| snapshots.len() as u64);
            machines.push(MachineEntry { snapshots, ..entry });
        }
        Ok(MachineList { machines })
    }
}

/// `None` if it has gone meanwhile.
fn entry(backend: &dyn Backend, id: MachineId) -> Option<MachineEntry> {
    let (model, observed) = (backend.model(), backend.observed());
    let machine = model.machines.get(&id)?;
    let status = machine_status(&model, &observed, machine);
    let hardware = match &machine.provision {
        Provision::Host { hardware, .. } | Provision::Running { hardware, .. } => Some(hardware),
        Provision::Pending | Provision::Failed { .. } => None,
    };
    Some(MachineEntry {
        machine: id.to_string(),
        name: status.name,
        instance: status.instance_id,
        kind: status.virt_type,
        state: status.life.or(status.agent_state).unwrap_or_else(|| "pending".to_owned()),
        info: status.agent_state_info.or(status.adopted.map(|what| format!("adopted: {what}"))),
        address: status.dns_name,
        mem: hardware.map(|hardware| hardware.mem),
        cpu_cores: hardware.map(|hardware| hardware.cores),
        units: machine.units.iter().map(ToString::to_string).collect(),
        snapshots: None,
    })
}
