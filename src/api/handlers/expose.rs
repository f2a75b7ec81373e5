//! expose, unexpose

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::model::{Change, Port, PublishedMapping};

use super::super::backend::{Asker, Backend};
use super::super::requests::{Done, Expose, Refusal, Unexpose};
use super::super::server::Handle;
use super::name;

#[async_trait]
impl Handle for Expose {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let published = self.publish.iter().map(|text| mapping(text)).collect::<Result<BTreeSet<_>, _>>()?;
        let targets = vec![self.service.clone()];
        backend.commit(by, Change::Expose { service: name(&self.service)?, published }).await?;
        Ok(Done { notes: Vec::new(), targets })
    }
}

#[async_trait]
impl Handle for Unexpose {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        backend.commit(by, Change::Unexpose { service: name(&self.service)? }).await?;
        Ok(Done::default())
    }
}

/// `8080:80`, `5353:53/udp`
fn mapping(text: &str) -> Result<PublishedMapping, Refusal> {
    let bad = || {
        Refusal::new(format!("invalid --publish \"{text}\""))
            .hint("it is HOSTPORT:PORT, for example `--publish 8080:80`")
    };
    let (host, port) = text.split_once(':').ok_or_else(bad)?;
    let port: Port = port.parse().map_err(|_| bad())?;
    let host: Port = format!("{host}/{}", port.protocol.as_str()).parse().map_err(|_| bad())?;
    Ok(PublishedMapping { host_port: host.number, port })
}
