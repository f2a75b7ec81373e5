//! get-constraints

use async_trait::async_trait;

use crate::model::{ChangeError, ServiceName};

use super::super::backend::Backend;
use super::super::requests::{ConstraintsAnswer, GetConstraints, Refusal};
use super::super::server::Handle;
use super::{name, refusal};

#[async_trait]
impl Handle for GetConstraints {
    /// Of a service what was said of itself, without what it has of the environment, as in Juju.
    async fn handle(self, backend: &dyn Backend, _by: &str) -> Result<ConstraintsAnswer, Refusal> {
        let service: Option<ServiceName> = self.service.as_deref().map(name).transpose()?;
        let model = backend.model();
        let constraints = match service {
            None => &model.constraints,
            Some(name) => match model.services.get(&name) {
                Some(service) => &service.constraints,
                None => return Err(refusal::of(&ChangeError::NoService(name), &model)),
            },
        };
        let values = constraints.values().into_iter().map(|(key, value)| (key.to_owned(), value));
        Ok(ConstraintsAnswer { constraints: values.collect() })
    }
}
