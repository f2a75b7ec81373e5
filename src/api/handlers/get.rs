//! get

use async_trait::async_trait;

use crate::model::{ChangeError, ConfigValue, ServiceName};

use super::super::backend::{Asker, Backend};
use super::super::requests::{GetConfig, Refusal};
use super::super::server::Handle;
use super::super::status::{OptionInfo, ServiceConfig};
use super::{name, refusal};

#[async_trait]
impl Handle for GetConfig {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<ServiceConfig, Refusal> {
        let service: ServiceName = name(&self.service)?;
        let model = backend.model();
        let found = model.services.get(&service);
        let found = found.ok_or_else(|| refusal::of(&ChangeError::NoService(service), &model))?;
        let declared = model.charms.get(&found.charm).map(|charm| &charm.meta.config);
        let settings = declared.into_iter().flatten().map(|(key, decl)| {
            let set = found.config.get(key);
            let info = OptionInfo {
                default: set.is_none() || set == decl.default.as_ref(),
                description: decl.description.clone(),
                kind: decl.kind.to_string(),
                value: set.or(decl.default.as_ref()).map(json),
            };
            (key.clone(), info)
        });
        Ok(ServiceConfig {
            charm: found.charm.name.to_string(),
            service: found.name.to_string(),
            settings: settings.collect(),
        })
    }
}

pub(super) fn json(value: &ConfigValue) -> serde_json::Value {
    match value {
        ConfigValue::Boolean(value) => (*value).into(),
        ConfigValue::Int(value) => (*value).into(),
        ConfigValue::Float(value) => (*value).into(),
        ConfigValue::String(value) => value.clone().into(),
    }
}
