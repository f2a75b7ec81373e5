//! Whoever works on an instance has its turn, until all that he began has ended.

use std::sync::Arc;

use crate::provider::ProviderError;

/// The right to work on an instance, as long as anybody keeps it.
pub type Turn = Arc<tokio::sync::OwnedMutexGuard<()>>;

/// Work that cannot be undone in its middle, with the turn that it was begun in: when the caller is given up it goes on
/// to its end, and who comes next waits for that. So what a tool has just forked never comes up after `destroy`.
pub async fn to_the_end<T: Send + 'static>(
    turn: &Turn,
    work: impl Future<Output = Result<T, ProviderError>> + Send + 'static,
) -> Result<T, ProviderError> {
    let kept = turn.clone();
    let task = tokio::spawn(async move {
        let done = work.await;
        drop(kept);
        done
    });
    task.await
        .map_err(|error| ProviderError::Spawn { command: "a step".into(), source: std::io::Error::other(error) })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_keeps_its_turn_when_the_caller_is_given_up() {
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        let turn: Turn = Arc::new(lock.clone().lock_owned().await);
        let (begun, ended) = tokio::sync::oneshot::channel();
        let work = to_the_end(&turn, async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let _ = begun.send(());
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_secs(1), work).await.is_err(), "given up");
        drop(turn);
        let next = lock.lock().await;
        assert!(ended.await.is_ok(), "it went on to its end before the next had its turn");
        drop(next);
    }
}
