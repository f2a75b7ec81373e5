//! deploy

use async_trait::async_trait;

use crate::model::{Change, Constraints, Deployment, Placement, ServiceName};

use super::super::backend::{Asker, Backend};
use super::super::requests::{Deploy, Done, Refusal};
use super::super::server::Handle;
use super::{cautions, constraint_notes, constraints, done, generated, name, placement};

#[async_trait]
impl Handle for Deploy {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let placement = placement(self.to.as_deref(), &backend.model())?;
        let constraints = constraints(self.constraints.as_deref())?;
        let given: Option<ServiceName> = self.service.as_deref().map(name).transpose()?;
        let charm = backend.load_charm(&self.charm, "deploy").await?;
        let service = match given {
            Some(service) => service,
            None => name(charm.meta.name.as_str())?,
        };
        let generated = generated(backend, &charm.meta.config);
        let subordinate = charm.meta.subordinate;
        let deployment = Deployment {
            service: service.clone(),
            charm: charm.meta,
            digest: charm.digest,
            units: self.units,
            placement,
            config: self.config,
            generated,
            constraints,
            expose: self.expose,
        };
        let mut notes = constraint_notes(&backend.model(), &deployment.constraints);
        if let Placement::On(machine) = &deployment.placement
            && deployment.constraints != Constraints::default()
        {
            notes.push(format!("constraints are for new machines: machine {machine} stays as it is"));
        }
        let events = backend.commit(by, Change::Deploy(Box::new(deployment))).await?;
        let mut done = done(&events);
        if subordinate {
            done.notes.push(format!("units come with a relation, e.g. `encanto add-relation {service} mysql`"));
        }
        done.notes.extend(notes);
        done.notes.extend(cautions(&backend.model(), &events));
        done.targets = vec![service.to_string()];
        Ok(done)
    }
}
