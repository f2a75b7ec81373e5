//! Actions and commands in machines, told to a real controller on the simulated provider.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use encanto::api::{self, ActionTask};
use encanto::model::{Event, Port};
use serde_json::json;
use support::scenario::{Scenario, story};

async fn ask(s: &Scenario, action: &str, params: serde_json::Value) -> String {
    let params = serde_json::from_value(params).unwrap();
    s.ask(api::RunAction { unit: "tool/0".into(), action: action.into(), params, timeout: None })
        .await
        .unwrap()
        .id
        .to_string()
}

async fn show(s: &Scenario, id: &str, wait: bool) -> ActionTask {
    s.ask(api::ShowAction { id: id.into(), wait, timeout: Some(20), after: None }).await.unwrap()
}

async fn cancel(s: &Scenario, id: &str) {
    s.ask(api::CancelAction { ids: vec![id.into()] }).await.unwrap();
}

fn log(s: &Scenario) -> String {
    use encanto::api::backend::Backend;
    s.backend().log_after(0, &|_| true).iter().map(|line| format!("{} {}\n", line.module, line.message)).collect()
}

story!(an_action_gives_results_and_commits_what_it_wrote, s, {
    s.deploy("tool", 1).await;
    s.deploy("app", 1).await;
    s.settle().await;
    let id = ask(&s, "backup", json!({ "file": "/b", "keep": "5", "password": "hunter22" })).await;
    let task = show(&s, &id, true).await;
    assert_eq!((task.status.as_str(), task.message.as_str()), ("completed", ""), "{}", log(&s));
    assert_eq!(task.parameters["password"], "(secret)");
    assert_eq!((&task.parameters["keep"], &task.results["file"]), (&json!(5), &json!("/b")));
    assert_eq!(task.results["deep"], json!({ "key": "(secret)", "text": "with (secret)" }));
    assert!(task.timing.started.is_some() && task.timing.completed.is_some());
    let unit = s.model().units[&"tool/0".parse().unwrap()].clone();
    assert!(unit.open_ports.contains(&"99".parse::<Port>().unwrap()));
    assert_eq!(unit.state["count"], 1);
    // A hook in between sees what the action wrote, and the next action too.
    s.set("tool", "key", "sesame-8").await;
    s.settle().await;
    let id = ask(&s, "backup", json!({ "file": "/b" })).await;
    let task = show(&s, &id, true).await;
    assert_eq!((&task.results["count"], &task.results["keep"]), (&json!(2), &json!(3)));
    let said = log(&s);
    assert!(said.contains("backup-action-0 action 0 begins, asked for by `ana: run-action`"), "{said}");
    assert!(!said.contains("hunter22") && !said.contains("sesame"), "{said}");
});

story!(a_failed_action_tells_why_and_writes_nothing, s, {
    s.deploy("tool", 1).await;
    s.settle().await;
    let id = ask(&s, "broken", json!({})).await;
    let task = show(&s, &id, true).await;
    assert_eq!(task.status, "failed");
    assert!(task.message.starts_with("charm.lua:") && task.message.ends_with("no such table: (secret)"), "{task:?}");
    let said = log(&s);
    assert!(said.contains("error(\"no such table: \" .. unit.config.key)") && said.contains("traceback:"), "{said}");
    let unit = s.model().units[&"tool/0".parse().unwrap()].clone();
    assert!(unit.state.is_empty() && unit.open_ports.is_empty());
    s.expect_status("tool/0", "started", "active").await;
});

story!(an_action_waits_for_the_start_hook, s, {
    s.hang_hook("tool/0", "start");
    s.deploy("tool", 1).await;
    s.until_runs("tool/0", "start").await;
    let id = ask(&s, "backup", json!({ "file": "/b" })).await;
    assert_eq!(show(&s, &id, false).await.status, "pending");
    s.kill_controller().await;
    s.release_hook("tool/0", "start");
    s.start_controller().await;
    assert_eq!(show(&s, &id, true).await.status, "completed");
});

story!(a_unit_in_error_still_runs_actions, s, {
    s.deploy("tool", 1).await;
    s.settle().await;
    s.fail_hook("tool/0", "config-changed");
    s.set("tool", "key", "other-key").await;
    s.settle().await;
    s.expect_status("tool/0", "error", "error").await;
    let id = ask(&s, "backup", json!({ "file": "/b" })).await;
    assert_eq!(show(&s, &id, true).await.status, "completed");
    s.settle().await;
    s.expect_status("tool/0", "error", "error").await;
});

story!(an_action_has_its_machine_for_itself, s, {
    s.hang_hook("tool/0", "backup-action");
    s.deploy("tool", 1).await;
    s.settle().await;
    let before = s.journal.entries().len();
    let first = ask(&s, "backup", json!({ "file": "/b" })).await;
    s.until_runs("tool/0", "action backup (0)").await;
    let second = ask(&s, "broken", json!({})).await;
    s.set("tool", "key", "other-key").await;
    assert_eq!(show(&s, &second, false).await.status, "pending");
    let status = s.status().await.services["tool"].units["tool/0"].clone();
    assert_eq!(status.agent_state_info.as_deref(), Some("running action backup (0)"));
    cancel(&s, &first).await;
    show(&s, &second, true).await;
    s.settle().await;
    // Whichever of the two came first, neither began while the action ran.
    let order: Vec<&str> = s.journal.entries()[before..]
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::HookCommitted { .. } => Some("hook"),
            Event::ActionEnded { action, .. } if action.0 == 0 => Some("first ended"),
            Event::ActionStarted { action, .. } if action.0 == 1 => Some("second started"),
            _ => None,
        })
        .collect();
    assert!(order[0] == "first ended" && order.len() == 3, "{order:?}");
});

story!(a_cancelled_action_is_ended_in_its_machine, s, {
    s.hang_hook("tool/0", "backup-action");
    s.deploy("tool", 1).await;
    s.settle().await;
    let (first, second) = (ask(&s, "backup", json!({ "file": "/b" })).await, ask(&s, "broken", json!({})).await);
    s.until("the action runs", |model| model.actions.values().any(|action| action.state.goes_on())).await;
    cancel(&s, &second).await;
    cancel(&s, &first).await;
    let task = show(&s, &first, true).await;
    assert_eq!((task.status.as_str(), task.message.as_str()), ("cancelled", "cancelled while it ran"));
    let task = show(&s, &second, true).await;
    assert_eq!((task.status.as_str(), task.message.as_str()), ("cancelled", "cancelled before it began"));
    let refused = s.ask(api::CancelAction { ids: vec![first.clone()] }).await.unwrap_err();
    assert_eq!(
        (refused.error.as_str(), refused.hints[0].as_str()),
        ("action 0 is cancelled already", "`encanto action show 0`")
    );
    assert!(s.model().units[&"tool/0".parse().unwrap()].state.is_empty());
});

story!(who_waits_hears_what_this_action_says, s, {
    s.deploy("tool", 1).await;
    s.settle().await;
    let first = ask(&s, "backup", json!({ "file": "/b" })).await;
    show(&s, &first, true).await;
    s.hang_hook("tool/0", "backup-action");
    let second = ask(&s, "backup", json!({ "file": "/c" })).await;
    let hears =
        |after| s.ask(api::ShowAction { id: second.clone(), wait: true, timeout: Some(20), after: Some(after) });
    let task = hears(0).await.unwrap();
    let said: Vec<&str> = task.log.iter().map(|line| line.message.as_str()).collect();
    assert_eq!((task.status.as_str(), said), ("running", vec!["action 1 begins, asked for by `ana: run-action`"]));
    let last = task.log[0].sequence;
    let (task, ()) = tokio::join!(hears(last), cancel(&s, &second));
    let said = task.unwrap().log.iter().map(|line| line.message.clone()).collect::<Vec<_>>();
    assert_eq!(said, ["action 1 cancelled: cancelled while it ran"]);
    let over = show(&s, &second, true).await;
    assert!(over.is_over() && over.log.is_empty());
});

story!(an_action_ends_when_its_time_is_over, s, {
    s.hang_hook("tool/0", "backup-action");
    s.deploy("tool", 1).await;
    s.settle().await;
    let params = serde_json::from_value(json!({ "file": "/b" })).unwrap();
    let asked = api::RunAction { unit: "tool/0".into(), action: "backup".into(), params, timeout: Some(1) };
    let id = s.ask(asked).await.unwrap().id.to_string();
    let early = s.ask(api::ShowAction { id: id.clone(), wait: true, timeout: Some(0), after: None }).await.unwrap();
    assert!(!early.is_over());
    let task = show(&s, &id, true).await;
    assert_eq!(task.status, "failed");
    assert!(task.message.contains(" limit of "), "{task:?}");
});

story!(a_controller_that_is_killed_never_runs_an_action_twice, s, {
    s.hang_hook("tool/0", "backup-action");
    s.deploy("tool", 1).await;
    s.settle().await;
    let (first, second) =
        (ask(&s, "backup", json!({ "file": "/b" })).await, ask(&s, "backup", json!({ "file": "/c" })).await);
    s.until("the action runs", |model| model.actions.values().any(|action| action.state.goes_on())).await;
    s.kill_controller().await;
    s.release_hook("tool/0", "backup-action");
    s.start_controller().await;
    let task = show(&s, &first, true).await;
    assert_eq!(task.status, "failed");
    assert_eq!(task.message, "interrupted: the controller ended while it ran");
    assert!(log(&s).contains("backup-action-0 action 0 failed: interrupted: "), "{}", log(&s));
    assert_eq!(show(&s, &second, true).await.results["count"], 1, "the one that waited runs, once");
});

story!(removal_takes_the_actions_with_it, s, {
    s.hang_hook("tool/0", "backup-action");
    s.deploy("tool", 1).await;
    s.settle().await;
    let (first, second) =
        (ask(&s, "backup", json!({ "file": "/b" })).await, ask(&s, "backup", json!({ "file": "/c" })).await);
    s.until("the action runs", |model| model.actions.values().any(|action| action.state.goes_on())).await;
    s.destroy_unit("tool/0", false).await;
    assert_eq!(show(&s, &second, false).await.message, "unit tool/0 is being destroyed");
    assert_eq!(show(&s, &first, false).await.status, "running");
    let refused = s.ask(api::RunAction {
        unit: "tool/0".into(),
        action: "broken".into(),
        params: Default::default(),
        timeout: None,
    });
    assert_eq!(refused.await.unwrap_err().error, "unit \"tool/0\" is not alive");
    s.destroy_unit("tool/0", true).await;
    assert_eq!(show(&s, &first, true).await.message, "unit tool/0 was destroyed");
    s.settle().await;
    assert!(s.model().units.is_empty());
});

story!(an_action_that_an_upgrade_took_away_fails, s, {
    s.hang_hook("tool/0", "start");
    s.deploy("tool", 1).await;
    s.until_runs("tool/0", "start").await;
    let id = ask(&s, "broken", json!({})).await;
    s.upgrade("tool", "tool-next", false).await.unwrap();
    s.kill_controller().await;
    s.release_hook("tool/0", "start");
    s.start_controller().await;
    assert_eq!(show(&s, &id, true).await.message, "the charm does not declare action \"broken\" any more");
});

story!(actions_are_listed_and_told_of, s, {
    s.deploy("tool", 2).await;
    s.settle().await;
    let known = s.ask(api::ListActions { service: "tool".into() }).await.unwrap().actions;
    assert_eq!(known.keys().collect::<Vec<_>>(), ["backup", "broken"]);
    let keep = &known["backup"].params["keep"];
    assert_eq!((keep.kind.as_str(), &keep.default, keep.min, keep.required), ("int", &Some(json!(3)), Some(1), false));
    assert!(known["backup"].params["file"].required && known["backup"].params["password"].secret);
    let id = ask(&s, "backup", json!({ "file": "/b" })).await;
    show(&s, &id, true).await;
    let tasks = |pattern: &str| s.ask(api::ActionTasks { patterns: vec![pattern.into()] });
    assert_eq!(tasks("tool").await.unwrap().actions.len(), 1);
    assert_eq!(tasks("tool/1").await.unwrap().actions.len(), 0);
    let refused = |error: api::Refusal| (error.error, error.hints.join("; "));
    assert_eq!(
        refused(s.ask(api::ListActions { service: "tol".into() }).await.unwrap_err()),
        ("service \"tol\" not found".into(), "did you mean `tool`?".into())
    );
    let mistyped =
        api::RunAction { unit: "tool/1".into(), action: "bakup".into(), params: Default::default(), timeout: None };
    assert_eq!(
        refused(s.ask(mistyped).await.unwrap_err()),
        ("action \"bakup\" not defined on service \"tool\"".into(), "did you mean `backup`?".into())
    );
    assert_eq!(
        refused(s.ask(api::ShowAction { id: "9".into(), wait: true, timeout: None, after: None }).await.unwrap_err()),
        ("action 9 not found".into(), "`encanto action status` lists the actions".into())
    );
});
