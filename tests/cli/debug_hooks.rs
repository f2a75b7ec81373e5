//! `debug-hooks`: by a script against a real controller, and what goes over the wire.

use std::io::Write;
use std::os::unix::net::UnixStream;

use serde_json::json;

use super::streams::{frame, read_frame};
use crate::support::fake::{Fake, Reply};
use crate::support::{Env, Running};

const CHARM: &str = r#"return charm { name = "app", summary = "s", series = { "bookworm" },
  config = { password = { type = "string", secret = true, default = "hunter2" } },
  hooks = {
    start = function(unit)
      if not unit.state.ready then error("it is not ready") end
      unit:set_status("active", "ready")
    end,
  } }"#;

#[test]
fn a_failed_hook_is_mended_by_a_script() {
    let env = Running::bootstrapped();
    env.write("app/charm.lua", CHARM);
    env.run("deploy ./app --wait=30s").fails().stderr_has("it is not ready");
    let script = "unit.state.ready = true\nunit.state, unit.config\nx x\nhook()\n.commit\n";
    let ran = env.run_with_input("debug-hooks app/0", script).succeeds();
    assert_eq!(ran.stdout, "{ ready = true }\t{ password = \"(secret)\" }\nstatus active: ready\n");
    let told = "debugging app/0: waiting for a hook to become due; Ctrl-C leaves
app/0: hook start is due
it failed before: charm.lua:5: it is not ready
`hook()` runs the charm's own function; `.commit`, `.fail` or `.run` says what comes of it; `.help`
prompt:1: ";
    assert!(ran.stderr.starts_with(told), "{ran:?}");
    assert!(ran.stderr.ends_with("hook start is committed\n"), "{ran:?}");
    env.run("wait --timeout 30s").succeeds();
    env.run("debug-log --no-tail -i app/0").succeeds().stdout_has(" says: hook start is committed");
    env.run("history").succeeds().stdout_has("debug-hooks app/0");
}

#[test]
fn what_is_not_there_is_told() {
    let env = Running::bootstrapped();
    env.write("app/charm.lua", CHARM);
    env.run("deploy ./app").succeeds();
    env.run("debug-hooks app/0 stat")
        .fails()
        .stdout_is("")
        .stderr_is("error: unit \"app/0\" does not contain hook \"stat\"\nhint: did you mean `start`?\n");
    env.run("debug-hooks nope/0").fails().stderr_has("error: unit \"nope/0\" not found\n");
    env.run("debug-hooks app").fails().stderr_has("error: invalid unit name \"app\"\n");
    env.run("debug-hooks app/0 --lua --shell").misused().stderr_has("cannot be used with");
}

/// Hears a line and its end, then says something and ends with 3.
fn one_line(mut stream: UnixStream) {
    assert_eq!(read_frame(&mut stream), (7, b"a line".to_vec()));
    assert_eq!(read_frame(&mut stream), (0, Vec::new()));
    stream.write_all(&frame(6, b"ignored without a terminal> ")).unwrap();
    stream.write_all(&[frame(1, b"shown\n"), frame(2, b"told\n"), frame(4, &3i32.to_be_bytes())].concat()).unwrap();
}

#[test]
fn lines_of_a_pipe_go_as_they_are() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |_, _| Reply::Upgraded(one_line));
    env.run_with_input("debug-hooks --shell a/0 start stop", "a line")
        .exits(3)
        .stdout_is("shown\n")
        .stderr_is("told\n");
    let asked = fake.was_asked();
    assert_eq!(
        (asked.verb.as_str(), asked.header("encanto-command")),
        ("debug-hooks", "debug-hooks a/0 start stop --shell")
    );
    let mut body = asked.body;
    let who = body["who"].take();
    assert!(who.as_str().unwrap().contains(" (process "), "{who}");
    assert_eq!(
        body,
        json!({ "unit": "a/0", "hooks": ["start", "stop"], "shell": true, "terminal": null, "term": null, "who": null })
    );
}

#[test]
fn a_controller_that_was_killed_is_told() {
    let env = Env::simulated();
    Fake::controller(&env, |_, _| Reply::Upgraded(drop));
    env.run("debug-hooks a/0").fails().stderr_is(
        "error: the controller has ended: a hook that waited is due again when it runs\nhint: encanto controller start\n",
    );
}
