//! Layers that several machines wait for, told to a real controller on the simulated provider.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use std::time::Duration;

use support::scenario::{Scenario, story};

/// How often the charm's step has begun.
fn builds(s: &Scenario) -> usize {
    s.begun_of("build").len()
}

fn calls(s: &Scenario, kind: &str) -> usize {
    let builds = |name: &str| name.starts_with("me-test-build-");
    let calls = s.provider.calls();
    calls
        .iter()
        .filter(|call| call.kind == kind && call.instance.as_ref().is_some_and(|name| builds(name.as_str())))
        .count()
}

/// What only the provider sees tells nobody: it is looked at again and again.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let comes = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), comes).await.is_ok(), "{what} never came");
}

story!(a_build_outlives_the_machine_that_asked_first_and_serves_the_next, s, {
    s.hang_hook("build", "prepare");
    s.deploy("prepared", 2).await;
    until("the build", || builds(&s) == 1).await;
    // Whoever began it, it goes.
    s.destroy_machine("1", true).await;
    s.until("machine 1 is gone", |model| !model.machines.contains_key(&"1".parse().unwrap())).await;
    s.add_unit("prepared").await;
    s.until("machine 3 is there", |model| model.machines.contains_key(&"3".parse().unwrap())).await;
    s.release_hook("build", "prepare");
    s.settle().await;
    s.expect_status("prepared/1", "started", "active").await;
    s.expect_status("prepared/2", "started", "active").await;
    assert_eq!((builds(&s), calls(&s, "create")), (1, 1), "{:?}", s.provider.calls());
});

story!(a_build_that_all_have_left_is_finished_and_forgotten, s, {
    s.hang_hook("build", "prepare");
    s.fail_hook("build", "prepare");
    s.deploy("prepared", 1).await;
    until("the build", || builds(&s) == 1).await;
    s.destroy_machine("1", true).await;
    s.settle().await;
    s.release_hook("build", "prepare");
    // Its failure concerns nobody any more: who comes later begins anew.
    until("its end", || calls(&s, "destroy") == 2).await;
    s.heal_hook("build", "prepare");
    s.add_unit("prepared").await;
    s.settle().await;
    s.expect_status("prepared/1", "started", "active").await;
});

story!(a_build_ends_with_the_controller, s, {
    s.provider.hold("create");
    s.deploy("prepared", 1).await;
    until("the build", || calls(&s, "create") == 1).await;
    s.kill_controller().await;
    s.provider.let_go("create");
    s.hang_hook("build", "prepare");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(builds(&s), 0, "nobody goes on with it");
    s.heal_hook("build", "prepare");
    s.release_hook("build", "prepare");
    s.start_controller().await;
    s.settle().await;
    s.expect_status("prepared/0", "started", "active").await;
    assert_eq!(builds(&s), 1);
});
