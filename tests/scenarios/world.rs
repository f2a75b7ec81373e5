//! Instances that change behind the controller.

use encanto::plan::settled::Condition;

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
