//! `action` and `run`: what is sent, what is seen, with what code it ends.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::support::fake::{Fake, Reply};
use crate::support::{Env, Running};

fn task(status: &str, message: &str) -> Value {
    json!({ "id": 3, "unit": "mysql/0", "action": "backup", "status": status, "message": message,
            "parameters": { "database": "wiki", "password": "(secret)" },
            "results": if status == "completed" { json!({ "file": "/b.sql.gz", "size": 4096 }) } else { json!({}) },
            "timing": { "enqueued": "2026-11-23T15:46:30.123Z", "started": "2026-11-23T15:46:30.200Z" },
            "asked-by": "action do mysql/0 backup" })
}

/// Runs a line, and checks the verb, the body and that the journal hears of no value.
#[track_caller]
fn sends(line: &str, verb: &str, body: Value) {
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({ "id": 3, "actions": [], "results": [], "notes": [] }));
    env.write("params.yaml", "database: wiki\nkeep: 3\n");
    env.run(line);
    let asked = fake.was_asked();
    assert_eq!((asked.verb.as_str(), asked.body.clone()), (verb, body), "{line}");
    assert!(!asked.header("encanto-command").contains("hunter2"), "{asked:?}");
}

#[test]
fn every_spelling_sends_what_was_typed() {
    let backup = |params: Value, timeout: Value| json!({ "unit": "mysql/0", "action": "backup", "params": params, "timeout": timeout });
    sends(
        "action do mysql/0 backup password=hunter2",
        "run-action",
        backup(json!({ "password": "hunter2" }), json!(null)),
    );
    sends("action run mysql/0 backup", "run-action", backup(json!({}), json!(null)));
    sends(
        "run-action mysql/0 backup keep=5 --params params.yaml --timeout 2h",
        "run-action",
        backup(json!({ "database": "wiki", "keep": "5" }), json!(7200)),
    );
    sends("action list mysql", "actions", json!({ "service": "mysql" }));
    sends("actions mysql", "actions", json!({ "service": "mysql" }));
    for line in ["action show 3", "action fetch 3", "show-task 3", "show-operation 3"] {
        sends(line, "show-action", json!({ "id": "3", "wait": false, "timeout": null, "after": null }));
    }
    sends("action show 3 --wait=1m", "show-action", json!({ "id": "3", "wait": true, "timeout": 60, "after": 0 }));
    sends("action status my* app/0", "action-tasks", json!({ "patterns": ["my*", "app/0"] }));
    sends("operations", "action-tasks", json!({ "patterns": [] }));
    for line in ["action cancel 3 4", "cancel-task 3 4"] {
        sends(line, "cancel-action", json!({ "ids": ["3", "4"] }));
    }
    let run = |units: Value, all: bool, timeout: u64| json!({ "units": units, "services": [], "machines": [], "all": all, "command": "echo hunter2 -n", "timeout": timeout });
    sends("run --unit mysql/0,mysql/1 'echo hunter2 -n'", "run", run(json!(["mysql/0", "mysql/1"]), false, 300));
    sends("exec -u mysql/0 --timeout 10 -- echo hunter2 -n", "run", run(json!(["mysql/0"]), false, 10));
    sends("run --all echo hunter2 -n", "run", run(json!([]), true, 300));
}

#[test]
fn the_id_is_told_at_once() {
    let env = Env::simulated();
    Fake::always(&env, 200, json!({ "id": 3 }));
    env.run("action do mysql/0 backup").succeeds().stderr_is("").stdout_is("Action queued with id: 3\n");
    env.run("action do mysql/0 backup --format json").succeeds().stdout_is("{\"Action queued with id\":3}\n");
}

#[test]
fn whoever_waits_gets_the_results_or_the_reason() {
    let ends = |status: &'static str, message: &'static str| {
        let env = Env::simulated();
        Fake::controller(&env, move |asked, _| {
            if asked.verb == "run-action" {
                return Reply::Json(200, json!({ "id": 3 }));
            }
            // What it says comes first, then how it ended.
            let (mut seen, line) = (task(status, message), |n: u32, text: &str| {
                json!({ "sequence": n, "time": "2026-11-23T15:46:30.300Z", "entity": "unit-mysql-0", "level": "INFO",
                        "module": "backup-action", "message": text })
            });
            if asked.body["after"] == json!(0) {
                seen["status"] = json!("running");
                seen["log"] = json!([line(7, "action 3 begins"), line(8, "saving wiki")]);
            } else {
                assert!(asked.body["after"] == json!(8) || asked.body["after"].is_null());
            }
            Reply::Json(200, seen)
        });
        env
    };
    let env = ends("completed", "");
    let done = env
        .run("action do mysql/0 backup --wait")
        .succeeds()
        .stderr_is("Action queued with id: 3\naction 3 begins\nsaving wiki\n");
    insta::assert_snapshot!(done.stdout, @r"
    id: 3
    unit: mysql/0
    action: backup
    status: completed
    parameters:
      database: wiki
      password: (secret)
    results:
      file: /b.sql.gz
      size: 4096
    timing:
      enqueued: 2026-11-23T15:46:30.123Z
      started: 2026-11-23T15:46:30.200Z
    asked-by: action do mysql/0 backup
    ");
    let failed = ends("failed", "charm.lua:3: no room");
    failed.run("action do mysql/0 backup --wait -q").fails().stdout_has("status: failed\n").stderr_is(
        "error: action 3 failed: charm.lua:3: no room\nhint: encanto debug-log --replay --no-tail -i mysql/0\n",
    );
    failed.run("action show 3").succeeds().stderr_is("").stdout_has("message: 'charm.lua:3: no room'\n");
    ends("running", "")
        .run("action show 3 --wait=1 -q")
        .fails()
        .stderr_is("error: the time is over: action 3 is running\nhint: encanto action show 3 --wait\n");
}

#[test]
fn one_machine_is_heard_as_it_is_and_several_make_a_list() {
    let result = |machine: &str, code: i32, out: &str, err: &str| {
        let encoded = |text: &str| BASE64_STANDARD.encode(text.as_bytes());
        json!({ "machine": machine, "unit": format!("mysql/{machine}"), "code": code, "stdout": encoded(out),
                "stderr": encoded(err), "error": null })
    };
    let env = Env::simulated();
    Fake::always(&env, 200, json!({ "results": [result("1", 3, "half a line", "no\n")] }));
    env.run("run -u mysql/1 x").exits(3).stdout_is("half a line").stderr_is("no\n");
    env.run("run -u mysql/1 x --format json").exits(3).stdout_is("half a line");
    env.run("run --format json -u mysql/1 x").fails().stdout_is(
        "[{\"MachineId\":\"1\",\"UnitId\":\"mysql/1\",\"ReturnCode\":3,\"Stdout\":\"half a line\",\"Stderr\":\"no\\n\"}]\n",
    );

    let env = Env::simulated();
    let mut gone = result("2", 0, "", "");
    gone["error"] = json!("unit mysql/2 was removed");
    Fake::always(&env, 200, json!({ "results": [result("1", 0, "up\n", ""), gone] }));
    env.run("run -s mysql uptime").fails().stderr_is("error: it failed on 1 of 2\n").stdout_is(
        "- MachineId: '1'\n  UnitId: mysql/1\n  Stdout: |\n    up\n- MachineId: '2'\n  UnitId: mysql/2\n  Stdout: ''\n  \
         Error: unit mysql/2 was removed\n",
    );
    let env = Env::simulated();
    let mut long = result("1", 0, "the end\n", "");
    long["cut"] = json!(true);
    Fake::always(&env, 200, json!({ "results": [long] }));
    env.run("run -u mysql/1 x")
        .succeeds()
        .stdout_is("the end\n")
        .stderr_is("only the end of what mysql/1 said is shown; `encanto ssh mysql/1 COMMAND` shows all\n");
}

#[test]
fn ctrl_c_ends_the_waiting_and_not_the_action() {
    for (line, verb, said) in [
        (
            "action do mysql/0 backup --wait",
            "show-action",
            "Action queued with id: 3\ninterrupted: the action goes on, see `encanto action show 3`\n",
        ),
        ("run --unit mysql/0 'sleep 1000'", "run", ""),
    ] {
        let env = Env::simulated();
        let (tell, asked) = std::sync::mpsc::channel();
        Fake::controller(&env, move |request, _| match request.verb.as_str() {
            found if found == verb => {
                tell.send(()).unwrap();
                Reply::Endless(vec![])
            }
            _ => Reply::Json(200, json!({ "id": 3 })),
        });
        let child = env.command(line).spawn().unwrap();
        asked.recv().unwrap();
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(130), said));
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn wrong_usage_says_what_is_missing() {
    let env = Env::simulated();
    for (line, message) in [
        (
            "run uptime",
            "no targets: name them with --unit, --service, --machine or --all\nhint: encanto run --unit mysql/0 uptime",
        ),
        ("run --all", "no commands specified\nhint: encanto run --help"),
        ("action do mysql/0", "no action specified\nhint: encanto action --help"),
        ("action do mysql/0 backup novalue", "invalid option: \"novalue\"\nhint: KEY=VALUE"),
        ("action cancel", "no ids specified\nhint: encanto action --help"),
        ("action status --format dot", "this command has no dot format\nhint: --format yaml or json"),
    ] {
        env.run(line).misused().stdout_is("").stderr_is(&format!("error: {message}\n"));
    }
    insta::assert_snapshot!("action_help", env.run("action --help").succeeds().stderr_is("").stdout);
    insta::assert_snapshot!("action_do_help", env.run("action do --help").succeeds().stderr_is("").stdout);
    insta::assert_snapshot!("run_help", env.run("run --help").succeeds().stderr_is("").stdout);
}

const CHARM: &str = r#"
return charm {
  name = "db",
  summary = "A database",
  series = { "bookworm" },
  hooks = { start = function(unit) unit:set_status("active", "serving") end },
  actions = {
    backup = {
      description = "Save all databases",
      params = {
        file = { type = "string", required = true, description = "Where to" },
        speed = { type = "string", choices = { "fast", "slow" }, default = "fast" },
      },
      run = function(unit, params) return { file = params.file, speed = params.speed } end,
    },
    check = { run = function(unit) error("table \"user\" is broken") end },
  },
}
"#;

#[test]
fn an_operator_finds_and_runs_an_action() {
    let env = Running::bootstrapped();
    env.write("db/charm.lua", CHARM);
    env.run("deploy ./db --wait=30s").succeeds();
    insta::assert_snapshot!(env.run("action list db").succeeds().stderr_is("").stdout, @r"
    ACTION DESCRIPTION
    backup Save all databases
    check
    ");
    insta::assert_snapshot!(env.run("action list db --schema").succeeds().stderr_is("").stdout, @r"
    backup:
      description: Save all databases
      params:
        file:
          description: Where to
          type: string
          required: true
        speed:
          type: string
          default: fast
          choices:
          - fast
          - slow
    check:
      description: ''
    ");
    env.run("action do db/0 backup").fails().stdout_is("").stderr_is(
        "error: action \"backup\": parameter \"file\" is missing\n\
         hint: `encanto action list SERVICE --schema` shows the parameters\n",
    );
    env.run("action do db/0 backup file=/b speed=slw")
        .fails()
        .stderr_has("error: action \"backup\": option \"speed\" must be one of fast, slow, got \"slw\"\n");
    let done = env.run("action do db/0 backup file=/b --wait=30s").succeeds().stdout;
    assert!(done.contains("status: completed\n") && done.contains("results:\n  file: /b\n  speed: fast\n"), "{done}");
    env.run("action do db/0 check --wait=30s").fails().stderr_has("error: action 1 failed: charm.lua:");
    let all = env.run("action status").succeeds().stdout;
    assert!(all.starts_with("ID UNIT ACTION STATUS    SINCE") && all.lines().count() == 3, "{all}");
    assert!(all.contains("1  db/0 check  failed") && all.contains("table \"user\" is broken"), "{all}");
    env.run("history")
        .succeeds()
        .stdout_has("action do db/0 backup file")
        .stdout_has("action 0 queued: backup of db/0");
    let told =
        env.run("show-status-log db/0").succeeds().stdout_has("0: backup by `action do db/0 backup file`").stdout;
    assert!(told.contains("action   completed 0\n") && told.contains("action   failed    1: charm.lua:"), "{told}");
    env.run("run --unit db/0 true").succeeds().stdout_is("").stderr_is("");
    env.run("debug-log --no-tail -i db/0").succeeds().stdout_has(": run --unit db/0`\n");
}
