//! One lock a machine: hooks, actions and commands for its units never run at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::model::MachineId;

/// Held while somebody works on a machine.
pub type Held = OwnedMutexGuard<()>;

/// Whoever asked first is served first.
#[derive(Clone, Default)]
pub struct MachineLocks(Arc<Mutex<HashMap<MachineId, Arc<tokio::sync::Mutex<()>>>>>);

impl MachineLocks {
    pub async fn hold(&self, machine: MachineId) -> Held {
        self.lock_of(machine).lock_owned().await
    }

    /// `None` if somebody else holds it.
    pub fn try_hold(&self, machine: MachineId) -> Option<Held> {
        self.lock_of(machine).try_lock_owned().ok()
    }

    fn lock_of(&self, machine: MachineId) -> Arc<tokio::sync::Mutex<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(machine).or_default().clone()
    }
}
