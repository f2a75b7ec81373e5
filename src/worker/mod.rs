//! The reconcilers: each reads the model, asks [`crate::plan`], carries the step out, and commits what came of it.
//!
//! # Why this shape
//! A worker takes no input but a name ("look at mysql/0"). What is to be done is always found anew from the model,
//! so a nudge that is lost, doubled or late does no harm, and after a crash it is enough to nudge everyone once.
//! Nothing polls: the [`ledger`] says whom a committed event concerns ([`crate::plan::nudge`]).
//!
//! - [`ledger`]: the only writer. Change → events → journal → model, in batches.
//! - [`driver`]: runs a reconciler for many names, one at a time each, again while there is more to do.
//! - [`provisioner`]: machines. [`kinds`]: what they can be. [`adoption`]: those that were there before. [`wishes`]: stopped,
//!   copied, set back. [`layers`]: what charms prepare, once each.
//! - [`unit_agent`]: hooks. [`action_agent`]: actions. [`command`]: `run`. They take turns on a machine by [`locks`].
//! - [`debugging`]: who is asked before hooks. [`firewaller`]: ports that are open to the outside.
//! - [`observer`]: what became of the instances while nobody looked. [`caretaker`]: the network they share.
//!
//! # Repeatable
//! On one thread, with a paused clock, the same commands give the same journal: simulations (`tests/simulation`) rest
//! on that. So every `select!` here is `biased` (it would choose at random; `tests/architecture.rs`), nothing follows
//! the order of a `HashMap`, time is tokio's or the ledger's clock, and many who wait for one thing wait on a `Notify`:
//! a `watch` wakes them at random.

pub mod access;
pub mod action_agent;
pub mod activity;
pub mod adoption;
pub mod capped;
pub mod caretaker;
pub mod charms;
pub mod command;
pub mod context;
pub mod debugging;
pub mod driver;
pub mod firewaller;
pub mod hook_runner;
pub mod kinds;
pub mod layers;
pub mod ledger;
pub mod locks;
pub mod logbook;
pub mod logfiles;
pub mod observer;
pub mod provisioner;
pub mod unit_agent;
pub mod waiter;
pub mod wishes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::charm::CharmHost;
use crate::model::{MachineId, Millis};
use crate::provider::{InstanceName, Provider, ProviderError};

use charms::CharmStore;
use debugging::Debugging;
use hook_runner::HookRunner;
use ledger::Ledger;
use locks::MachineLocks;
use logbook::Logbook;

/// What all workers share.
#[derive(Clone)]
pub struct World {
    pub ledger: Ledger,
    pub provider: Arc<dyn Provider>,
    /// Reads what charms declare.
    pub charm_host: Arc<CharmHost>,
    /// Runs their functions.
    pub hooks: Arc<dyn HookRunner>,
    pub charms: Arc<CharmStore>,
    pub logbook: Arc<Logbook>,
    pub locks: MachineLocks,
    /// Work that was given up goes on until it can be cut: whoever takes all down waits for the last of it.
    pub tasks: TaskTracker,
    /// The environment's folder; `None` if it is in memory only.
    pub folder: Option<PathBuf>,
    /// Before each instance's name: `<user>-<environment>-`.
    pub prefix: String,
    /// Milliseconds until a failed hook is run again for the first time; `None` leaves that to the operator, and so the
    /// machines that could not be made.
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

/// An error and its causes on one line, and what to do about it if its provider knows.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref().and_then(ProviderError::remedy) {
        Some(remedy) => format!("{}; {remedy}", causes(error)),
        None => causes(error),
    }
}

/// An error and its causes on one line.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_an_error_is_told_with_it() {
        let words = "Failed to connect socket".to_owned();
        let error = ProviderError::Libvirt { words, remedy: Some("start libvirt with `libvirtd --daemon`".into()) };
        assert_eq!(chain(&error), "libvirt: Failed to connect socket; start libvirt with `libvirtd --daemon`");
    }
}
