//! What an action sees, what it gives back, and what its errors tell.

#![allow(clippy::unwrap_used)]

mod sandbox_support;

use std::time::Duration;

use encanto::charm::{ActionContext, ActionOutcome, FaultKind, HookError, Limits};
use encanto::model::{ConfigValue, Hook};
use sandbox_support::*;

/// Runs an action with this body, and with parameters `file` = "/b" and the secret `password` = "hunter22".
async fn act(stage: &Stage, body: &str, timeout: Option<Duration>) -> Result<ActionOutcome, HookError> {
    let main = format!(
        "return charm {{ name = \"app\", summary = \"s\", series = {{ \"bookworm\" }}, actions = {{ save = {{\n\
         params = {{ file = {{ type = \"string\" }}, keep = {{ type = \"int\" }}, password = {{ type = \"string\" }} }},\n\
         run = function(unit, params)\n{body}\nend }} }} }}"
    );
    let text = |text: &str| ConfigValue::String(text.to_owned());
    let context = ActionContext {
        hook: context(Hook::Action("save".parse().unwrap())),
        params: [("file".to_owned(), text("/b")), ("password".to_owned(), text("hunter22"))].into(),
        secret_params: ["password".to_owned()].into(),
        timeout,
    };
    stage.host.run_action(&files(&main, &[]), context, stage.machine.clone(), stage.sink.clone()).await
}

#[test]
fn an_action_gets_parameters_and_gives_results_without_secrets() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let body = "assert(params.keep == nil and unit.hook == 'save-action')
            unit.state.saved = params.file
            unit:open_port(80)
            print('password', params.password)
            return { file = params.file, list = { 1, 'two' }, plain = params.password, made = secret('abc'),
              inside = { text = 'is ' .. params.password } }";
        let outcome = act(&stage, body, None).await.unwrap();
        let results = serde_json::Value::Object(outcome.results);
        let expected = serde_json::json!({ "file": "/b", "inside": { "text": "is (secret)" }, "list": [1, "two"],
            "made": "(secret)", "plain": "(secret)" });
        assert_eq!(results, expected);
        assert_eq!(outcome.writes.state.unwrap()["saved"], "/b");
        assert_eq!(outcome.writes.opened.len(), 1);
        assert_eq!(stage.sink.text(), "password\t(secret)\n");
    });
}

#[test]
fn an_action_may_return_nothing_and_nothing_but_a_table_else() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        assert_eq!(act(&stage, "", None).await.unwrap(), ActionOutcome::default());
        for (body, message) in [
            ("return 'done'", "an action returns a table or nothing, not a string"),
            ("return { 1, 2 }", "results must have names as keys, not numbers"),
            ("return { f = print }", "results.f: a function cannot be kept"),
            ("return { text = string.rep('x', 70000) }", "results: larger than 64 KiB"),
            ("return params.kep", "charm.lua:4: the action declares no parameter \"kep\""),
            ("params.file = 1", "charm.lua:4: attempt to modify a readonly table"),
        ] {
            assert_eq!(act(&stage, body, None).await.unwrap_err().summary(), message, "{body}");
        }
    });
}

#[test]
fn a_failed_action_is_explained_like_a_hook() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let error = act(&stage, "error('no ' .. params.password)", None).await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:4: no (secret)");
        assert!(error.report().contains("    4 | error('no ' .. params.password)\ntraceback:"), "{}", error.report());
    });
}

#[test]
fn an_action_has_a_time_limit_of_its_own_and_leaves_nothing_running() {
    on_paused_clock(async {
        let stage = Stage::new(Limits { total: Duration::from_secs(20), ..Limits::default() });
        stage.machine.hang(&["dump"]);
        let hang = "unit:exec{ 'dump' }";
        let error = act(&stage, hang, Some(Duration::from_secs(7200))).await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:4: command \"dump\" was ended after its limit of 120 min");
        let error = act(&stage, hang, None).await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:4: command \"dump\" was ended after its limit of 20 s");
        let error = act(&stage, "sleep(1000)", Some(Duration::from_secs(60))).await.unwrap_err();
        assert_eq!(
            (error.kind, error.summary()),
            (FaultKind::TooLong, "charm.lua:4: ran longer than the limit of 60 s".into())
        );
        assert_eq!(stage.machine.running(), 0);
    });
}
