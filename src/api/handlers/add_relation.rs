//! add-relation, destroy-relation

use async_trait::async_trait;

use crate::model::{Change, EndpointRef, Life, ServiceName};

use super::super::backend::{Asker, Backend};
use super::super::requests::{AddRelation, DestroyRelation, Done, Refusal};
use super::super::server::Handle;
use super::name;

#[async_trait]
impl Handle for AddRelation {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let (one, other) = two(&self.endpoints)?;
        let targets = vec![one.service.to_string(), other.service.to_string()];
        backend.commit(by, Change::AddRelation { one, other }).await?;
        Ok(Done { notes: Vec::new(), targets })
    }
}

#[async_trait]
impl Handle for DestroyRelation {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let (one, other) = two(&self.endpoints)?;
        let services = [one.service.clone(), other.service.clone()];
        backend.commit(by, Change::DestroyRelation { one, other, force: self.force }).await?;
        // A service that is dying may go with its last relation: who waits could find nothing to wait for.
        let model = backend.model();
        let stays = |name: &&ServiceName| model.services.get(*name).is_some_and(|service| service.life == Life::Alive);
        let targets = services.iter().filter(stays).map(ToString::to_string).collect();
        Ok(Done { notes: Vec::new(), targets })
    }
}

fn two(endpoints: &[String]) -> Result<(EndpointRef, EndpointRef), Refusal> {
    match endpoints {
        [one, other] => Ok((endpoint(one)?, endpoint(other)?)),
        _ => Err(Refusal::new("a relation must involve two services").hint("for example `mediawiki mysql`")),
    }
}

fn endpoint(text: &str) -> Result<EndpointRef, Refusal> {
    match text.split_once(':') {
        None => Ok(EndpointRef { service: name(text)?, endpoint: None }),
        Some((service, endpoint)) => {
            let endpoint = endpoint.parse().map_err(|_| {
                Refusal::new(format!("invalid endpoint \"{text}\""))
                    .hint("write SERVICE or SERVICE:ENDPOINT, e.g. `mysql:db`")
            })?;
            Ok(EndpointRef { service: name(service)?, endpoint: Some(endpoint) })
        }
    }
}
