//! The reconcilers: each reads the model, asks [`crate::plan`], carries the step out, and commits what came of it.
//!
//! # Why this shape
//! A worker takes no input but a name ("look at mysql/0"). What is to be done is always found anew from the model,
//! so a nudge that is lost, doubled or late does no harm, and after a crash it is enough to nudge everyone once.
//! Nothing polls: the [`ledger`] says whom a committed event concerns ([`crate::plan::nudge`]).
//!
//! - [`ledger`]: the only writer. Change → events → journal → model, in batches.
//! - [`driver`]: runs a reconciler for many names, one at a time each, again while there is more to do.
//! - [`provisioner`]: machines. [`layers`]: what charms prepare, once each.
//! - [`unit_agent`]: hooks. [`debugging`]: who is asked before them. [`firewaller`]: ports that are open to the outside.
//! - [`observer`]: what became of the instances while nobody looked.

pub mod access;
pub mod capped;
pub mod charms;
pub mod context;
pub mod debugging;
pub mod driver;
pub mod firewaller;
pub mod layers;
pub mod ledger;
pub mod logbook;
pub mod observer;
pub mod provisioner;
pub mod unit_agent;
pub mod waiter;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::charm::CharmHost;
use crate::model::{MachineId, Millis};
use crate::provider::{InstanceName, Provider, ProviderError};

use charms::CharmStore;
use debugging::Debugging;
use ledger::Ledger;
use logbook::Logbook;

/// What all workers share.
#[derive(Clone)]
pub struct World {
    pub ledger: Ledger,
    pub provider: Arc<dyn Provider>,
    pub charm_host: Arc<CharmHost>,
    pub charms: Arc<CharmStore>,
    pub logbook: Arc<Logbook>,
    /// The environment's folder; `None` if it is in memory only.
    pub folder: Option<PathBuf>,
    /// Before each instance's name: `<user>-<environment>-`.
    pub prefix: String,
    /// Milliseconds until a failed hook is run again for the first time; `None` leaves it to the operator.
    pub retry_hooks: Option<Millis>,
    /// How often update-status runs; `None` is never.
    pub update_status: Option<Duration>,
    /// Operators who take hooks into their own hands.
    pub debugging: Debugging,
    /// True once the provider is open: before that no machine can be made.
    pub open: watch::Receiver<bool>,
}

impl World {
    /// `<user>-<environment>-machine-<n>`, of a container `<user>-<environment>-machine-<n>-lxc-<m>`
    pub fn instance_name(&self, machine: MachineId) -> Result<InstanceName, ProviderError> {
        InstanceName::new(format!("{}{}", self.prefix, machine.tag()))
    }

    /// The scratch instance in which a layer is made.
    pub fn build_name(&self, layer: &str) -> Result<InstanceName, ProviderError> {
        InstanceName::new(format!("{}{BUILD}{}", self.prefix, &layer[..layer.len().min(12)]))
    }

    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Returns when the workers have been ended: what goes on beside them is to end too.
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut open = self.open.clone();
        async move { while open.changed().await.is_ok() {} }
    }
}

const BUILD: &str = "build-";

/// How long to wait before trying again what the world, not the operator, refused.
const RETRY: Duration = Duration::from_secs(5);

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    // Rust adds the number; nobody needs it.
    let told = |error: &dyn std::error::Error| {
        let text = error.to_string();
        match text.split_once(" (os error") {
            Some((words, _)) => words.to_lowercase(),
            None => text,
        }
    };
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = told(cause);
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
