//! Keeps the ports that are open to the outside as the model wants them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::plan::exposure::{self, OpenPort};
use crate::provider::PublishedPort;

use super::driver::Next;
use super::{RETRY, World, chain};

/// What was published last; `None` after a start or a failure, when that is not known.
pub type Published = Arc<Mutex<Option<BTreeSet<OpenPort>>>>;

pub async fn reconcile(world: World, published: Published) -> Next {
    if !world.is_open() {
        return Next::Rest;
    }
    let wanted = exposure::wanted(&world.ledger.model());
    if published.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&wanted) {
        return Next::Rest;
    }
    let ports: Vec<PublishedPort> = wanted
        .iter()
        .map(|open| PublishedPort {
            protocol: open.port.protocol.as_str().to_owned(),
            host_port: open.host_port,
            address: open.address,
            port: open.port.number,
        })
        .collect();
    // Until it has succeeded nobody knows what is published: a failure may come after the effect.
    *published.lock().unwrap_or_else(PoisonError::into_inner) = None;
    match world.provider.publish(&ports).await {
        Ok(()) => {
            *published.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
            Next::Rest
        }
        Err(error) => {
            tracing::error!("the firewall cannot be set: {}", chain(&error));
            Next::After(RETRY)
        }
    }
}
