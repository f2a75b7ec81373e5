//! destroy-unit, destroy-service, destroy-machine

use async_trait::async_trait;

use crate::model::{Change, ServiceName, UnitName};

use super::super::backend::{Asker, Backend};
use super::super::requests::{DestroyMachine, DestroyService, DestroyUnit, Done, Refusal};
use super::super::server::Handle;
use super::{done, machines, name};

#[async_trait]
impl Handle for DestroyUnit {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let units = names::<UnitName>(&self.units, "no units specified")?;
        let events = backend.commit(by, Change::DestroyUnits { units, force: self.force }).await?;
        Ok(Done { notes: done(&events).notes, targets: self.units })
    }
}

#[async_trait]
impl Handle for DestroyService {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let services = names::<ServiceName>(&self.services, "no service specified")?;
        let events = backend.commit(by, Change::DestroyServices { services, force: self.force }).await?;
        Ok(Done { notes: done(&events).notes, targets: self.services })
    }
}

#[async_trait]
impl Handle for DestroyMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let machines = machines(&backend.model(), &self.machines)?;
        let targets = machines.iter().map(ToString::to_string).collect();
        backend.commit(by, Change::DestroyMachines { machines, force: self.force }).await?;
        Ok(Done { notes: Vec::new(), targets })
    }
}

fn names<T: std::str::FromStr<Err = crate::model::NameError>>(texts: &[String], none: &str) -> Result<Vec<T>, Refusal> {
    if texts.is_empty() {
        return Err(Refusal::new(none));
    }
    texts.iter().map(|text| name(text)).collect()
}
