//! `machine`: what is sent, what is seen, with what code it ends.

use serde_json::{Value, json};

use crate::support::fake::Fake;
use crate::support::{Env, Running};

/// Runs a line, and checks the verb and the body.
#[track_caller]
fn sends(line: &str, verb: &str, body: Value) {
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({ "notes": ["noted"], "machines": [], "snapshots": [] }));
    env.run(line).succeeds();
    let asked = fake.was_asked();
    assert_eq!((asked.verb.as_str(), asked.body.clone()), (verb, body), "{line}");
}

#[test]
fn every_verb_sends_what_was_typed() {
    sends("machine list", "list-machines", json!({}));
    sends("machine stop 3 big-box", "stop-machine", json!({ "machines": ["3", "big-box"] }));
    sends("machine start 1/lxc/0", "start-machine", json!({ "machines": ["1/lxc/0"] }));
    sends("machine restart 3", "restart-machine", json!({ "machines": ["3"] }));
    let clone = |count: u32, name: Value, constraints: Value| json!({ "machine": "3", "count": count, "name": name, "constraints": constraints });
    sends("machine clone 3", "clone-machine", clone(1, json!(null), json!(null)));
    sends("machine clone 3 -n 2 --constraints mem=1G", "clone-machine", clone(2, json!(null), json!("mem=1G")));
    let limits = json!("mem=512M cpu-cores=2");
    sends("machine clone 3 --name trial --ram 512 --vcpu 2", "clone-machine", clone(1, json!("trial"), limits));
    sends("machine snapshot 3", "take-snapshot", json!({ "machine": "3", "name": null }));
    sends("machine snapshot 3 monday", "take-snapshot", json!({ "machine": "3", "name": "monday" }));
    sends("machine snapshot 3 --list", "list-snapshots", json!({ "machine": "3" }));
    sends("machine snapshot 3 --delete monday", "drop-snapshot", json!({ "machine": "3", "name": "monday" }));
    sends("machine restore 3 monday -y", "restore-machine", json!({ "machine": "3", "snapshot": "monday" }));
    let machine =
        |constraints: Value| json!({ "count": 1, "series": null, "constraints": constraints, "placement": null });
    let mut named = machine(json!(null));
    named["name"] = json!("big-box");
    sends("add-machine --name big-box", "add-machine", named);
    sends("add-machine --ram 512 --vcpus 1", "add-machine", machine(json!("mem=512M cpu-cores=1")));
}

#[test]
fn limits_are_said_in_one_way() {
    let env = Env::simulated();
    for line in ["add-machine --constraints mem=1G --vcpu 2", "machine clone 3 --constraints mem=1G --vcpu 2"] {
        env.run(line).misused().stderr_is(
            "error: cannot use --ram or --vcpu with --constraints\nhint: --constraints 'mem=1G cpu-cores=2'\n",
        );
    }
    env.run("add-machine --ram 0").misused().stderr_has("must be a positive integer");
    env.run("machine snapshot 3 x --list").misused();
    env.run("machine stop").misused();
}

#[test]
fn a_restore_asks_back() {
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({ "notes": ["restored"] }));
    let asked = env.run_with_input("machine restore 3 monday", "n\n").fails();
    insta::assert_snapshot!(asked.stderr, @r"
    WARNING: machine 3 will lose all that was written in it since snapshot monday.
    What the environment knows of its units is not set back.

    Continue [y/N]? error: the restore was aborted
    hint: -y restores without asking
    ");
    assert!(fake.asked().is_empty(), "nothing is asked before the answer");
    env.run_with_input("machine restore 3 monday", "yes\n").succeeds().stderr_has("restored\n");
    assert_eq!(fake.was_asked().header("encanto-command"), "machine restore 3 monday");
}

#[test]
fn machines_live_from_their_name_to_their_end() {
    let env = Running::bootstrapped();
    env.run("add-machine --name big-box --ram 512 --vcpu 1 --wait=30s")
        .succeeds()
        .stderr_has("machine 1 is called big-box\n");
    env.run("machine snapshot big-box first")
        .succeeds()
        .stdout_is("")
        .stderr_is("snapshot first of machine 1 is taken\n");
    env.run("machine snapshot 1 --list").succeeds().stdout_has("first ");
    env.run("machine stop big-box --wait=30s")
        .succeeds()
        .stderr_has("machine 1 is being stopped\n")
        .stderr_has("machine 1: stopped\n");
    let clone = env.run("machine clone big-box --name trial --ram 1024 --wait=30s").succeeds();
    assert!(
        clone
            .stderr
            .starts_with("created machine 2\nmachine 2 becomes a copy of machine 1\nmachine 2 is called trial\n"),
        "{clone:?}"
    );
    let list = env.run("machine list").succeeds().stdout;
    // Instances have the name of whoever runs the tests before theirs.
    let short = |word: &str| word.split_once("-sim-").map_or(word, |(_, rest)| rest).to_owned();
    let line = |line: &str| line.split_whitespace().map(short).collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(list.lines().map(line).collect::<Vec<_>>().join("\n"), @r"
    ID NAME INSTANCE KIND STATE ADDRESS MEM CORES SNAPSHOTS
    0 localhost started 10.0.0.1 8192M 4
    1 big-box machine-1 lxc stopped 10.0.0.2 512M 1 1
    2 trial machine-2 lxc started 10.0.0.3 1024M 1 0
    ");
    let status = env.run("status").succeeds().stdout;
    assert!(status.contains("    copy-of: '1'\n") && status.contains("    name: trial\n"), "{status}");
    env.run("ssh big-box true").fails().stderr_is("error: machine 1 is stopped\nhint: encanto machine start 1\n");
    env.run("machine console 1").fails().stderr_is("error: machine 1 is stopped\nhint: encanto machine start 1\n");
    env.run("machine restore big-box first -y")
        .succeeds()
        .stderr_has("machine 1 has the disk again that it had at snapshot first\n");
    env.run("machine restart 1 --wait=30s").succeeds().stderr_has("machine 1: started\n");
    // Ctrl-] leaves, whatever was typed before.
    let console = env.run_with_input("machine console big-box", "ls\n\u{1d}").succeeds();
    console.stdout_has("machine-1 console, 80 columns, 24 rows").stderr_has("Ctrl-] leaves the console\n");
    env.run("machine stop 0").fails().stderr_has("error: cannot stop machine 0: it is this host\n");
    env.run("machine clone 9").fails().stderr_has("error: machine 9 not found\n");
    env.run("machine stop nope").fails().stderr_has("error: invalid machine id \"nope\"\n");
    env.run("machine restore 1 last -y").fails().stderr_has("error: machine 1 has no snapshot \"last\"\nhint: ");
    env.run("destroy-machine big-box trial --wait=30s").succeeds();
    env.run("history -n 3").succeeds().stdout_has("destroy-machine big-box trial");
}
