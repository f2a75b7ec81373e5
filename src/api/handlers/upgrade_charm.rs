//! upgrade-charm

use async_trait::async_trait;

use crate::model::{Change, ChangeError, ServiceName, Upgrade};

use super::super::backend::{Asker, Backend};
use super::super::requests::{CharmSource, Done, Refusal, UpgradeCharm};
use super::super::server::Handle;
use super::{generated, name, refusal};

#[async_trait]
impl Handle for UpgradeCharm {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let service: ServiceName = name(&self.service)?;
        let current = {
            let model = backend.model();
            let found = model.services.get(&service);
            found
                .map(|found| found.charm.name.to_string())
                .ok_or_else(|| refusal::of(&ChangeError::NoService(service.clone()), &model))?
        };
        let by_name = self.charm.is_none();
        let source = self.charm.unwrap_or(CharmSource::Named(current));
        let charm =
            backend.load_charm(&source, &format!("upgrade service \"{service}\"")).await.map_err(|refusal| {
                match by_name {
                    true => {
                        refusal.hint(format!("from a folder: `encanto upgrade-charm {service} --path ./{service}`"))
                    }
                    false => refusal,
                }
            })?;
        let generated = generated(backend, &charm.meta.config);
        let upgrade =
            Upgrade { service: service.clone(), charm: charm.meta, digest: charm.digest, generated, force: self.force };
        backend.commit(by, Change::UpgradeCharm(Box::new(upgrade))).await?;
        Ok(Done { notes: Vec::new(), targets: vec![service.to_string()] })
    }
}
