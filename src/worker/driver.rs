//! Runs one reconciler for many keys: each key by one task at a time, different keys at the same time.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What a reconciler says when it is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more until somebody nudges.
    Rest,
    /// The world refused: try again then.
    After(Duration),
}

/// A defect in a reconciler must not take its key out of the world for good.
const AFTER_PANIC: Duration = Duration::from_secs(30);

/// Reconciles every key that comes in by `nudges` until that is closed, at most `parallel` keys at a time. A nudge for
/// a key that is being worked on makes it run once more afterwards.
pub async fn drive<K, F, Fut>(mut nudges: mpsc::UnboundedReceiver<K>, parallel: usize, reconcile: F)
where
    K: Clone + Eq + Hash + Send + 'static,
    F: Fn(K) -> Fut,
    Fut: Future<Output = Next> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(parallel));
    // The value says whether the key was nudged while it ran.
    let mut running: HashMap<K, bool> = HashMap::new();
    let mut tasks: JoinSet<(K, Next)> = JoinSet::new();
    let mut keys: HashMap<tokio::task::Id, K> = HashMap::new();
    let (again, mut due_again) = mpsc::unbounded_channel::<K>();
    // One a key: a key that is worked on is looked at anew, and says anew when it wants to be.
    let mut timers: HashMap<K, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        let key = tokio::select! {
            biased;
            Some(ended) = tasks.join_next_with_id() => {
                let (key, next) = match ended {
                    Ok((id, ended)) => {
                        keys.remove(&id);
                        ended
                    }
                    Err(error) => {
                        tracing::error!("a worker's task ended by itself: {error}");
                        let Some(key) = keys.remove(&error.id()) else { continue };
                        (key, Next::After(AFTER_PANIC))
                    }
                };
                let nudged = running.remove(&key).unwrap_or(false);
                match next {
                    _ if nudged => key,
                    Next::Rest => continue,
                    Next::After(delay) => {
                        let (again, due) = (again.clone(), key.clone());
                        let timer = tokio::spawn(async move {
                            tokio::time::sleep(delay).await;
                            // The driver has ended: so shall this.
                            let _ = again.send(due);
                        });
                        timers.insert(key, AbortOnDropHandle::new(timer));
                        continue;
                    }
                }
            }
            Some(key) = due_again.recv() => key,
            nudge = nudges.recv() => match nudge {
                Some(key) => key,
                None => break,
            },
        };
        if let Some(nudged) = running.get_mut(&key) {
            *nudged = true;
            continue;
        }
        timers.remove(&key);
        running.insert(key.clone(), false);
        let work = reconcile(key.clone());
        let slots = slots.clone();
        let started = key.clone();
        let task = tasks.spawn(async move {
            let slot = slots.acquire().await;
            let next = work.await;
            drop(slot);
            (key, next)
        });
        keys.insert(task.id(), started);
    }
    // Closed: what still runs is ended, to be found and done again by the next controller.
    tasks.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_key_is_never_worked_on_twice_at_a_time_and_no_nudge_is_lost() {
        let (nudge, nudges) = mpsc::unbounded_channel();
        let (busy, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (busy_in, runs_in) = (busy.clone(), runs.clone());
        let driver = tokio::spawn(drive(nudges, 8, move |_key: u32| {
            let (busy, runs) = (busy_in.clone(), runs_in.clone());
            async move {
                assert_eq!(busy.fetch_add(1, Ordering::SeqCst), 0);
                tokio::time::sleep(Duration::from_secs(1)).await;
                busy.fetch_sub(1, Ordering::SeqCst);
                runs.fetch_add(1, Ordering::SeqCst);
                Next::Rest
            }
        }));
        nudge.send(1).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        nudge.send(1).unwrap();
        nudge.send(1).unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(nudge);
        driver.await.unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_timer_however_often_it_is_nudged() {
        let (nudge, nudges) = mpsc::unbounded_channel();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let driver = tokio::spawn(drive(nudges, 8, move |_key: u32| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Next::After(Duration::from_secs(60)) }
        }));
        for _ in 0..10 {
            nudge.send(1).unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        drop(nudge);
        driver.await.unwrap();
        // Ten nudges, then once a minute.
        assert_eq!(runs.load(Ordering::SeqCst), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_world_refused_is_tried_again_later() {
        let (nudge, nudges) = mpsc::unbounded_channel();
        let times = Arc::new(Mutex::new(Vec::new()));
        let seen = times.clone();
        let start = tokio::time::Instant::now();
        let driver = tokio::spawn(drive(nudges, 8, move |_key: u32| {
            let mut seen = seen.lock().unwrap();
            seen.push(start.elapsed().as_secs());
            let next = if seen.len() < 3 { Next::After(Duration::from_secs(5)) } else { Next::Rest };
            async move { next }
        }));
        nudge.send(1).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(nudge);
        driver.await.unwrap();
        assert_eq!(*times.lock().unwrap(), [0, 5, 10]);
    }
}
