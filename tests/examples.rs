//! The examples do on simulated machines what their documents say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::path::Path;

use support::{RealEnv, Running, document};

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

/// Needs root and some minutes: `ENCANTO_TEST_LXC=1 cargo test --test examples`.
#[test]
fn the_scalable_wiki_answers_through_its_balancer() {
    let Some(env) = RealEnv::bootstrapped("scaletest") else { return };
    let script = document::root().join("examples/scalable-wiki/deploy.sh");
    let program = Path::new(env!("CARGO_BIN_EXE_encanto")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    let home = env.path("home");
    let output =
        tool("sh", &[&script.display().to_string()], &[("PATH", &path), ("ENCANTO_HOME", &home.display().to_string())]);
    assert!(output.status.success(), "{output:?}");
    let status: serde_json::Value = serde_json::from_str(&env.run("status --format json").succeeds().stdout).unwrap();
    let balancer = status["services"]["haproxy"]["units"]["haproxy/0"]["public-address"].as_str().unwrap().to_owned();
    let page = || tool("curl", &["-sL", "--max-time", "20", "-w", "%{http_code}", &format!("http://{balancer}/")], &[]);
    let answers = || String::from_utf8_lossy(&page().stdout).into_owned();
    assert!(answers().ends_with("200") && answers().contains("Scalable wiki"), "{}", answers());

    // One of two goes while a reader stays.
    env.run("destroy-unit mediawiki/0").succeeds();
    for _ in 0..20 {
        assert!(answers().ends_with("200"), "{}", answers());
    }
    env.run("wait --timeout 5m").succeeds();
    env.run("destroy-relation memcached mediawiki --wait=5m").succeeds();
    assert!(answers().ends_with("200"), "without the cache: {}", answers());
}

#[allow(clippy::disallowed_methods, reason = "a script and a browser are processes")]
fn tool(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> std::process::Output {
    std::process::Command::new(program).args(arguments).envs(variables.iter().copied()).output().unwrap()
}
