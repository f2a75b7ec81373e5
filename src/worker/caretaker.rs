//! Puts right what all machines share when somebody has damaged it (bridge, names, firewall), and sees when a disk that
//! was full has room again.

use std::time::Duration;

use crate::model::MachineId;
use crate::plan::patience;

use super::{RETRY, World, chain};

/// Watches until the task is ended. What is damaged again soon after it was mended is mended later each time: somebody
/// else on the host may want it otherwise, and a fight between two programs helps nobody. A mending that failed is done
/// again although nothing seems to be damaged any more: it may have failed at its end.
pub async fn watch_network(world: World) {
    let mut attempts: u32 = 0;
    let mut mended = None;
    loop {
        let damage = world.provider.disturbed().await;
        if patience::is_steady(mended, world.ledger.now()) {
            attempts = 0;
        }
        world.logbook.machine_error(MachineId::HOST, "caretaker", &damage);
        world.ledger.observe(|observed| observed.disturbance = Some(damage.clone()));
        loop {
            if attempts > 0 {
                let wait = patience::delay(patience::FIRST, attempts);
                tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
            }
            attempts += 1;
            if mend(&world, &damage).await {
                break;
            }
        }
        mended = Some(world.ledger.now());
    }
}

/// True if all is well now.
async fn mend(world: &World, damage: &str) -> bool {
    let result = world.provider.mend().await;
    let words = result.as_ref().err().map(|error| format!("{damage}, and cannot be put right: {}", chain(error)));
    match &words {
        None => world.logbook.machine_info(MachineId::HOST, "caretaker", "the network is as it was again"),
        Some(words) => world.logbook.machine_error(MachineId::HOST, "caretaker", words),
    }
    world.ledger.observe(|observed| {
        observed.mending_failed = words.is_some();
        observed.disturbance = words;
    });
    result.is_ok()
}

/// Looks from time to time whether a journal that could not be written can be again: it may be that nobody else has
/// anything to write.
pub async fn watch_journal(world: World) {
    let mut changes = world.ledger.changes();
    loop {
        let fault = world.ledger.observed().journal_fault.is_some();
        if fault {
            tokio::time::sleep(RETRY).await;
            if world.ledger.probe().await.is_ok() {
                tracing::info!("the journal can be written again");
            }
        } else if changes.changed().await.is_err() {
            return;
        }
    }
}
