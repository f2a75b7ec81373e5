//! One lock a machine: hooks, actions and commands for its units never run at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::model::MachineId;

/// Held while somebody works on a machine.
pub type Held = OwnedMutexGuard<()>;

type Lock = tokio::sync::Mutex<()>;

/// Whoever asked first is served first. A lock is there for as long as somebody holds it or waits for it, so machines
/// that are gone leave nothing.
#[derive(Clone, Default)]
pub struct MachineLocks(Arc<Mutex<HashMap<MachineId, Weak<Lock>>>>);

impl MachineLocks {
    pub async fn hold(&self, machine: MachineId) -> Held {
        self.lock_of(machine).lock_owned().await
    }

    /// `None` if somebody else holds it.
    pub fn try_hold(&self, machine: MachineId) -> Option<Held> {
        self.lock_of(machine).try_lock_owned().ok()
    }

    fn lock_of(&self, machine: MachineId) -> Arc<Lock> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&machine).and_then(Weak::upgrade) {
            return lock;
        }
        // As many as there are hooks and commands at work: few.
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::<Lock>::default();
        locks.insert(machine, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_is_one_for_all_who_want_it_and_forgotten_afterwards() {
        let locks = MachineLocks::default();
        for number in 1..=100 {
            let machine = MachineId::new(number);
            let held = locks.hold(machine).await;
            assert!(locks.try_hold(machine).is_none());
            let mut next = std::pin::pin!(locks.hold(machine));
            assert!(futures_util::poll!(next.as_mut()).is_pending());
            drop(held);
            assert!(locks.try_hold(machine).is_none(), "who waits is served before who comes later");
            drop(next.await);
            assert!(locks.try_hold(machine).is_some());
        }
        let last = locks.0.lock().unwrap().len();
        assert_eq!(last, 1, "what is left goes with the next that is asked for");
    }
}
