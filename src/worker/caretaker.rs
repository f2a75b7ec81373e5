//! Puts right what all machines share when somebody has damaged it (bridge, names, firewall), and sees when a disk that
//! was full has room again.

use std::time::Duration;

use crate::model::MachineId;
use crate::plan::patience;

use super::{RETRY, World, chain};

/// Watches until the task is ended. What is damaged again soon after it was mended is mended later each time: somebody
/// else on the host may want it otherwise, and a fight between two programs helps nobody.
pub async fn watch_network(world: World) {
    let mut failures: u32 = 0;
    let mut mended = None;
    loop {
        let damage = world.provider.disturbed().await;
        let now = world.ledger.now();
        if patience::is_steady(mended, now) {
            failures = 0;
        }
        if !world.ledger.observed().mending_failed {
            world.logbook.machine_error(MachineId::HOST, "caretaker", &damage);
            world.ledger.observe(|observed| observed.disturbance = Some(damage.clone()));
        }
        if failures > 0 {
            let wait = patience::delay(patience::FIRST, failures);
            tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
        }
        failures += 1;
        match world.provider.mend().await {
            Ok(()) => {
                world.logbook.machine_info(MachineId::HOST, "caretaker", "the network is as it was again");
                world.ledger.observe(|observed| {
                    observed.disturbance = None;
                    observed.mending_failed = false;
                });
            }
            Err(error) => {
                let words = format!("{damage}, and cannot be put right: {}", chain(&error));
                world.logbook.machine_error(MachineId::HOST, "caretaker", &words);
                world.ledger.observe(|observed| {
                    observed.disturbance = Some(words);
                    observed.mending_failed = true;
                });
            }
        }
        mended = Some(world.ledger.now());
    }
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
