//! destroy-unit, destroy-service, destroy-machine

use async_trait::async_trait;

use crate::model::{Change, MachineId, ServiceName, UnitName};

use super::super::backend::{Asker, Backend};
use super::super::requests::{DestroyMachine, DestroyService, DestroyUnit, Done, Refusal};
use super::super::server::Handle;
use super::name;

#[async_trait]
impl Handle for DestroyUnit {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let units = names::<UnitName>(&self.units, "no units specified")?;
        backend.commit(by, Change::DestroyUnits { units, force: self.force }).await?;
        Ok(Done { notes: Vec::new(), targets: self.units })
    }
}

#[async_trait]
impl Handle for DestroyService {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let services = names::<ServiceName>(&self.services, "no service specified")?;
        backend.commit(by, Change::DestroyServices { services, force: self.force }).await?;
        Ok(Done { notes: Vec::new(), targets: self.services })
    }
}

#[async_trait]
impl Handle for DestroyMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machines = names::<MachineId>(&self.machines, "no machines specified")?;
        backend.commit(by, Change::DestroyMachines { machines, force: self.force }).await?;
        Ok(Done { notes: Vec::new(), targets: self.machines })
    }
}

pub(super) fn names<T: std::str::FromStr<Err = crate::model::NameError>>(
    texts: &[String],
    none: &str,
) -> Result<Vec<T>, Refusal> {
    if texts.is_empty() {
        return Err(Refusal::new(none));
    }
    texts.iter().map(|text| name(text)).collect()
}
