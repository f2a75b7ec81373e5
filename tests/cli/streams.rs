//! Answers that take their time: waiting, the log, and commands inside machines.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::Env;
use crate::support::fake::{Fake, Reply};

pub fn progress(entity: &str, state: &str, message: &str) -> Value {
    json!({ "event": "progress", "entity": entity, "state": state, "message": message, "settled": state == "active" })
}

pub fn waited(events: Vec<Value>) -> (Env, Fake) {
    let env = Env::simulated();
    let fake = Fake::controller(&env, move |asked, _| match asked.verb.as_str() {
        "wait" => Reply::Events(events.clone()),
        _ => Reply::Json(200, json!({ "notes": [], "targets": ["mysql"] })),
    });
    (env, fake)
}

#[test]
fn wait_tells_each_change_and_ends() {
    let (env, fake) = waited(vec![
        progress("machine 1", "pending", "making it"),
        progress("mysql/0", "active", ""),
        json!({ "event": "ready" }),
    ]);
    env.run("deploy mysql --wait=5m")
        .succeeds()
        .stdout_is("")
        .stderr_is("machine 1: pending (making it)\nmysql/0: active\n");
    assert_eq!(fake.asked()[1].body, json!({ "targets": ["mysql"], "condition": "settled", "timeout": 300 }));
    env.run("-q wait").succeeds().stderr_is("");
    env.run("destroy-unit mysql/0 --wait").succeeds();
    let last = fake.asked().pop().unwrap().body;
    assert_eq!(last, json!({ "targets": ["mysql"], "condition": "gone", "timeout": null }));
}

#[test]
fn wait_gives_the_reasons() {
    let failed = json!({ "event": "failed", "reasons": ["mysql/0: hook failed: \"install\""] });
    waited(vec![failed]).0.run("wait mysql").fails().stderr_has(
        "error: it will not get there by itself: mysql/0: hook failed: \"install\"\nhint: encanto status\n",
    );
    let late = json!({ "event": "timed-out", "reasons": ["a/0 is pending", "b/0 is pending"] });
    waited(vec![late])
        .0
        .run("wait")
        .fails()
        .stderr_has("error: the time is over\n  a/0 is pending\n  b/0 is pending\nhint: ");
    waited(vec![]).0.run("wait").fails().stderr_has("error: the controller stopped before it was done\n");
}

fn line(sequence: u64) -> Value {
    json!({ "sequence": sequence, "time": "2026-11-23T15:46:30.123Z", "entity": "unit-mysql-0", "level": "INFO",
            "module": "install", "message": format!("line {sequence}") })
}

#[test]
fn the_log_is_told_as_juju_does() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |_, _| Reply::Events(vec![line(1), line(2)]));
    env.run("debug-log --no-tail -i mysql/0 -l warning").succeeds().stdout_is(
        "unit-mysql-0: 2026-11-23 15:46:30 INFO install line 1\nunit-mysql-0: 2026-11-23 15:46:30 INFO install line 2\n",
    );
    assert_eq!(
        fake.was_asked().body,
        json!({ "lines": null, "replay": true, "follow": false, "include": ["mysql/0"], "exclude": [], "limit": null,
                "level": "WARNING", "after": null })
    );
}

#[test]
fn a_log_ends_after_as_many_lines_as_wanted() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |_, before| match before {
        0 => Reply::Events(vec![line(1), line(2)]),
        _ => Reply::Events(vec![line(3), line(4)]),
    });
    let ran = env.run("debug-log --limit 3 -x 'my*'").succeeds();
    assert_eq!(ran.stdout.lines().count(), 3);
    let asked = fake.asked();
    assert_eq!((&asked[0].body["limit"], &asked[0].body["exclude"]), (&json!(3), &json!(["my*"])));
    assert_eq!(asked[1].body["limit"], json!(1));
}

fn empty(environment: &str) -> Value {
    json!({ "environment": environment, "machines": {}, "services": {} })
}

#[test]
fn a_watched_status_is_told_anew_with_a_line_between() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |_, _| Reply::Events(vec![empty("a"), empty("b")]));
    env.run("status --watch 'my*'")
        .fails()
        .stdout_is("environment: a\nmachines: {}\nservices: {}\n---\nenvironment: b\nmachines: {}\nservices: {}\n")
        .stderr_is("error: the controller stopped\nhint: encanto controller start\n");
    assert_eq!((fake.was_asked().verb.as_str(), fake.was_asked().body), ("watch", json!({ "patterns": ["my*"] })));
    assert_eq!(env.run("status --watch --format json").fails().stdout.lines().count(), 2);
}

#[test]
fn a_followed_log_goes_on_after_the_last_line() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |_, before| match before {
        0 => Reply::Events(vec![line(1), line(2)]),
        1 => Reply::Nothing,
        2 => Reply::Events(vec![line(3)]),
        _ => Reply::Json(400, json!({ "error": "enough" })),
    });
    let ran = env.run("debug-log").fails().stderr_is("error: enough\n");
    assert_eq!(ran.stdout.lines().map(|line| &line[line.len() - 1..]).collect::<String>(), "123");
    let after: Vec<Value> = fake.asked().iter().map(|asked| asked.body["after"].clone()).collect();
    assert_eq!(after, [json!(null), json!(2), json!(2), json!(3)]);
    assert_eq!(fake.asked()[0].body["lines"], json!(10));
}

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
}

pub fn read_frame(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let mut payload = vec![0; u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize];
    stream.read_exact(&mut payload).unwrap();
    (header[0], payload)
}

/// Gives back what it is told, in capitals, then ends with 3.
fn shout(mut stream: UnixStream) {
    stream.write_all(&frame(2, b"listening\n")).unwrap();
    loop {
        let (kind, payload) = read_frame(&mut stream);
        assert_eq!(kind, 0);
        if payload.is_empty() {
            break;
        }
        stream.write_all(&frame(1, &payload.to_ascii_uppercase())).unwrap();
    }
    stream.write_all(&frame(4, &3i32.to_be_bytes())).unwrap();
}

#[test]
fn a_command_inside_has_all_three_streams_and_its_exit_code() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |_, _| Reply::Upgraded(shout));
    env.run_with_input("ssh mysql/0 tr -s 'a b'", "hello\n").exits(3).stdout_is("HELLO\n").stderr_is("listening\n");
    let asked = fake.was_asked();
    assert_eq!((asked.header("upgrade"), asked.header("connection")), ("encanto-exec", "upgrade"));
    assert_eq!(
        asked.body,
        json!({ "target": "mysql/0", "argv": ["sh", "-c", "tr -s a b"], "terminal": null, "term": null })
    );
}

#[test]
fn much_in_both_directions_does_not_stop_it() {
    let env = Env::simulated();
    Fake::controller(&env, |_, _| Reply::Upgraded(shout));
    let much = "x".repeat(3 << 20);
    let ran = env.run_with_input_from_a_thread("ssh mysql/0", much);
    assert_eq!((ran.code, ran.stdout.len()), (Some(3), 3 << 20));
}

#[test]
fn a_command_that_cannot_be_run_says_why() {
    let env = Env::simulated();
    Fake::controller(&env, |_, _| {
        Reply::Upgraded(|mut stream| {
            stream.write_all(&frame(5, b"machine 1 is not started")).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
    });
    env.run("ssh 1 true").fails().stderr_is("error: machine 1 is not started\n");
    let env = Env::simulated();
    Fake::controller(&env, |_, _| Reply::Upgraded(drop));
    env.run("ssh 1 true").fails().stderr_has("error: the controller ended the connection\n");
    let env = Env::simulated();
    Fake::always(&env, 404, json!({ "error": "unit \"x/0\" not found" }));
    env.run("ssh x/0").fails().stderr_is("error: unit \"x/0\" not found\n");
}
