//! The examples do on simulated machines what their documents say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use support::{Running, document};

#[test]
fn hello_greets_and_offers_its_page() {
    let env = Running::bootstrapped();
    let charm = document::root().join("examples/hello");
    env.run(&format!("deploy {} --expose --wait=30s", charm.display()))
        .succeeds()
        .stderr_has("hello/0: active (greeting)\n");
    let status: serde_json::Value = serde_json::from_str(&env.run("status --format json").stdout).unwrap();
    let hello = &status["services"]["hello"];
    assert_eq!(hello["exposed"], true);
    assert_eq!(hello["units"]["hello/0"]["open-ports"], serde_json::json!(["80/tcp"]));
    env.run("set hello 'greeting=Good morning' --wait=30s").succeeds();
    env.run("get hello greeting").succeeds().stdout_is("Good morning\n");
    env.run("set hello greting=x").fails().stderr_has("hint: did you mean `greeting`?\n");
}
