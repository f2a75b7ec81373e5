//! Life cycles, told to a real controller on the simulated provider. Each ends with: and now nothing happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

#[path = "scenarios"]
mod scenarios {
    mod errors;
    mod leadership;
    mod lifecycle;
    mod placement;
    mod relations;
    mod removal;
    mod restart;
    mod upgrade;
    mod world;

    /// For what the provider is told, which no commit announces.
    async fn wait_for(holds: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !holds() {
            assert!(std::time::Instant::now() < deadline, "it never came");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}
