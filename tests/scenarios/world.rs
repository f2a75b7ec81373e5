//! Instances that change behind the controller.

use encanto::plan::settled::{Condition, Target};

use crate::support::scenario::story;

story!(stopped_instances_are_started_again_by_the_next_controller, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.kill_controller().await;
    s.stop_instance(1);
    s.start_controller().await;
    s.settle().await;
    let status = s.status().await;
    assert_eq!(status.machines["1"].instance_state.as_deref(), Some("running"));
    assert!(s.provider.calls().iter().any(|call| call.kind == "start"));
});

story!(an_instance_that_stops_by_itself_is_started_again, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.stop_instance(1);
    s.until_instance(1, "running", 1).await;
    s.settle().await;
    let starts = s.provider.calls().iter().filter(|call| call.kind == "start").count();
    assert_eq!(starts, 1);
});

story!(an_instance_that_was_deleted_is_told_and_can_be_replaced, s, {
    s.deploy("db", 2).await;
    s.settle().await;
    s.provider.vanish(&s.instance(1));
    s.until_instance(1, "missing", 0).await;
    s.expect_status("db/0", "down", "active").await;
    let reasons = s.wait_fails(&[], Condition::Active).await;
    let problems = encanto::api::backend::Backend::problems(s.backend()).await;
    assert_eq!(problems, ["machine 1 has lost its container: `encanto destroy-machine 1 --force`"]);
    let words = "machine 1 is down: its container is gone: encanto destroy-machine 1 --force";
    assert!(reasons.iter().any(|reason| reason.starts_with(words)), "{reasons:?}");
    s.destroy_machine("1", true).await;
    s.add_unit("db").await;
    s.settle().await;
    assert_eq!(s.wait_fails(&[], Condition::Active).await, [""; 0]);
    assert_eq!(s.machine_numbers(), [2, 3]);
});

story!(a_machine_that_is_started_has_nothing_left_of_its_creation, s, {
    s.deploy("db", 3).await;
    let mut changes = s.ledger().changes();
    // Every state that anybody could have seen on the way.
    for machine in [1, 2, 3] {
        while !s.machine_is_started(machine).await {
            changes.changed().await.unwrap();
        }
    }
    s.settle().await;
});

story!(who_waits_too_long_is_told_what_still_runs, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.hang_hook("db/0", "config-changed");
    s.set("db", "size", "2").await;
    s.until_runs("db/0", "config-changed").await;
    let reasons = s.wait_at_most(&[], Condition::Active, std::time::Duration::from_millis(200)).await;
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].starts_with("db/0 is active (running config-changed)"), "{reasons:?}");
    s.release_hook("db/0", "config-changed");
    s.wait_active().await;
});

story!(a_machine_is_no_reason_why_its_unit_is_not_gone, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    let reasons = s.wait_fails(&[Target::Unit("db/0".parse().unwrap())], Condition::Gone).await;
    assert_eq!(reasons, ["db/0 is active: ready"]);
    let reasons = s.wait_fails(&[Target::Machine(encanto::model::MachineId::new(1))], Condition::Gone).await;
    assert_eq!(reasons, ["machine 1 is started"]);
});

story!(a_unit_whose_machine_is_lost_is_down_whatever_its_hooks_do, s, {
    s.deploy("db", 1).await;
    s.wait_active().await;
    s.provider.vanish(&s.instance(1));
    s.until_instance(1, "missing", 0).await;
    s.fail_hook("db/0", "config-changed");
    s.set("db", "size", "2").await;
    s.settle().await;
    s.expect_status("db/0", "down", "error").await;
    let info = s.info_of("db/0").await;
    assert!(info.starts_with("(error: hook failed: \"config-changed\": "), "{info}");
    s.destroy_machine("1", true).await;
});
