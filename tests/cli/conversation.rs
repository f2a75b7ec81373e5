//! Questions and answers: what is sent for each verb, and what is made of the reply.

use serde_json::json;

use crate::support::Env;
use crate::support::fake::{Fake, Reply};

/// Runs a line, and checks the verb and what was sent.
#[track_caller]
fn sends(line: &str, verb: &str, body: serde_json::Value) {
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({ "notes": ["noted"] }));
    env.run(line).succeeds().stdout_is("").stderr_is("noted\n");
    let asked = fake.was_asked();
    assert_eq!((asked.verb.as_str(), asked.body.clone()), (verb, body), "{line}");
    assert_eq!(asked.header("encanto-version"), env!("CARGO_PKG_VERSION"));
    assert!(!asked.header("encanto-command").contains("hunter2"), "{asked:?}");
}

#[test]
fn every_verb_sends_what_was_typed() {
    let deploy = |service: Option<&str>, units: u32, config: serde_json::Value| {
        json!({ "charm": { "named": "mysql" }, "service": service, "units": units, "to": null, "config": config,
                "constraints": null, "expose": false })
    };
    sends("deploy mysql", "deploy", deploy(None, 1, json!({})));
    sends(
        "deploy mysql db -n 3 --config password=hunter2",
        "deploy",
        deploy(Some("db"), 3, json!({ "password": "hunter2" })),
    );
    sends("add-unit mysql -n 2 --to lxc", "add-unit", json!({ "service": "mysql", "units": 2, "to": "lxc" }));
    sends("integrate wiki:db mysql", "add-relation", json!({ "endpoints": ["wiki:db", "mysql"] }));
    sends("expose wiki --publish 8080:80", "expose", json!({ "service": "wiki", "publish": ["8080:80"] }));
    sends("unexpose wiki", "unexpose", json!({ "service": "wiki" }));
    sends(
        "set mysql password=hunter2 b=",
        "set",
        json!({ "service": "mysql", "values": { "password": "hunter2", "b": "" } }),
    );
    sends("config mysql a=1", "set", json!({ "service": "mysql", "values": { "a": "1" } }));
    sends(
        "add-machine -n 2 --constraints 'mem=1G cpu-cores=2' --series bookworm lxc",
        "add-machine",
        json!({ "count": 2, "series": "bookworm", "constraints": "mem=1G cpu-cores=2", "placement": "lxc" }),
    );
    sends("add-unit mysql --to lxc:1", "add-unit", json!({ "service": "mysql", "units": 1, "to": "lxc:1" }));
    sends(
        "add-machine lxc:1",
        "add-machine",
        json!({ "count": 1, "series": null, "constraints": null, "placement": "lxc:1" }),
    );
    sends(
        "add-machine kvm --constraints mem=2G",
        "add-machine",
        json!({ "count": 1, "series": null, "constraints": "mem=2G", "placement": "kvm" }),
    );
    let constraints = |service: Option<&str>, text: &str| json!({ "service": service, "constraints": text });
    sends("set-constraints mem=1G cores=1", "set-constraints", constraints(None, "mem=1G cores=1"));
    sends("set-constraints mysql mem=", "set-constraints", constraints(Some("mysql"), "mem="));
    sends("set-constraints -s mysql tags=a,b", "set-constraints", constraints(Some("mysql"), "tags=a,b"));
    sends("set-constraints mysql virt-type=kvm", "set-constraints", constraints(Some("mysql"), "virt-type=kvm"));
    sends("set-model-constraints", "set-constraints", constraints(None, ""));
    sends("remove-unit mysql/0 mysql/1", "destroy-unit", json!({ "units": ["mysql/0", "mysql/1"], "force": false }));
    sends("destroy-service mysql --force", "destroy-service", json!({ "services": ["mysql"], "force": true }));
    sends("terminate-machine 3", "destroy-machine", json!({ "machines": ["3"], "force": false }));
}

#[test]
fn settings_of_a_file_keep_their_types() {
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({}));
    env.write("settings.yaml", "db:\n  size: 3\n  fast: true\n  name: 'yes'\n");
    env.run("deploy mysql db --config settings.yaml --config size=4").succeeds();
    assert_eq!(fake.was_asked().body["config"], json!({ "size": "4", "fast": true, "name": "yes" }));
    assert_eq!(fake.was_asked().header("encanto-command"), "deploy mysql db --config settings.yaml --config size");
}

#[test]
fn a_folder_travels_with_its_files() {
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({}));
    env.write("mine/charm.lua", "return {}").write("mine/lib/a.lua", "x").write("mine/.git/HEAD", "secret");
    env.run("deploy ./mine").succeeds();
    let charm = &fake.was_asked().body["charm"]["files"];
    assert_eq!(charm["files"], json!({ "charm.lua": "cmV0dXJuIHt9", "lib/a.lua": "eA==" }));
    assert!(charm["path"].as_str().unwrap().ends_with("/mine"));
}

#[test]
fn a_refusal_is_passed_on_in_its_own_words() {
    let env = Env::simulated();
    Fake::always(&env, 400, json!({ "error": "service \"x\" not found", "hints": ["encanto status"] }));
    env.run("expose x").fails().stdout_is("").stderr_is("error: service \"x\" not found\nhint: encanto status\n");
}

#[test]
fn a_controller_of_another_version_is_told() {
    let env = Env::simulated();
    Fake::always(&env, 409, json!({ "error": "the controller is version 9", "hints": ["encanto controller stop"] }));
    env.run("status").fails().stderr_is("error: the controller is version 9\nhint: encanto controller stop\n");
}

#[test]
fn nonsense_is_told_as_such() {
    let env = Env::simulated();
    Fake::always(&env, 200, json!(["what"]));
    env.run("status")
        .fails()
        .stderr_has("error: the controller of \"sim\" answered what this client does not understand");
    let env = Env::simulated();
    Fake::always(&env, 502, json!("oops"));
    env.run("status").fails().stderr_has("502 Bad Gateway: \"oops\"\n");
    let env = Env::simulated();
    Fake::controller(&env, |_, _| Reply::Nothing);
    env.run("status")
        .fails()
        .stderr_has("error: the controller of \"sim\" went away before it answered\n")
        .stderr_has("hint: if it had last words they are in ")
        .stderr_has("/sim/log/controller.log\n");
    let causes = env.run("status --debug").fails().stderr_has("caused by: ");
    assert!(!causes.stderr.contains("panicked"), "{causes:?}");
}

#[test]
fn a_pipe_gets_yaml() {
    let env = Env::simulated();
    let status = json!({
        "environment": "sim",
        "machines": { "0": { "agent-state": "started", "instance-id": "localhost", "series": "bookworm" } },
        "services": { "mysql": { "charm": "local:bookworm/mysql-1", "exposed": false, "units": { "mysql/0": {
            "agent-state": "started", "machine": "1",
            "workload-status": { "current": "active", "since": "2026-11-23T15:46:30Z" } } } } }
    });
    let fake = Fake::always(&env, 200, status.clone());
    env.run("status my*").succeeds().stderr_is("").stdout_is(
        "environment: sim\nmachines:\n  \"0\":\n    agent-state: started\n    instance-id: localhost\n    series: bookworm\n\
         services:\n  mysql:\n    charm: local:bookworm/mysql-1\n    exposed: false\n    units:\n      mysql/0:\n        \
         workload-status:\n          current: active\n          since: 2026-11-23T15:46:30Z\n        agent-state: started\n        \
         machine: \"1\"\n",
    );
    assert_eq!(fake.was_asked().body, json!({ "patterns": ["my*"] }));
    let text = env.run("status --format json").succeeds().stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), status);
    env.run("status --format tabular").succeeds().stdout_has("[Units]\nID      WORKLOAD-STATE");
}

#[test]
fn get_shows_all_settings_or_one() {
    let env = Env::simulated();
    Fake::always(
        &env,
        200,
        json!({ "charm": "mysql", "service": "db", "settings": {
            "size": { "default": true, "type": "int", "value": 3 }, "name": { "type": "string", "value": "a b" },
            "none": { "type": "string" } } }),
    );
    env.run("get db").succeeds().stdout_is(
        "charm: mysql\nservice: db\nsettings:\n  size:\n    default: true\n    type: int\n    value: 3\n  name:\n    \
         type: string\n    value: a b\n  none:\n    type: string\n",
    );
    env.run("get db name").succeeds().stdout_is("a b\n");
    env.run("config db size").succeeds().stdout_is("3\n");
    env.run("get db none").succeeds().stdout_is("");
    env.run("get db wrong").fails().stderr_is("error: unknown option \"wrong\"\nhint: encanto get db\n");
    env.run("get db --format tabular").misused().stderr_has("no tabular format");
}

#[test]
fn constraints_are_shown_as_they_are_typed() {
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({ "constraints": { "cpu-cores": "1", "mem": "512M", "tags": "" } }));
    env.run("get-constraints mysql").succeeds().stdout_is("cpu-cores=1 mem=512M tags=\n");
    assert_eq!(fake.was_asked().body, json!({ "service": "mysql" }));
    env.run("constraints --format yaml").succeeds().stdout_is("cpu-cores: '1'\nmem: 512M\ntags: ''\n");
    env.run("set-constraints -s mysql wiki mem=1G").misused().stderr_has("the service is given twice");
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({ "constraints": {} }));
    env.run("model-constraints").succeeds().stdout_is("");
    assert_eq!(fake.was_asked().body, json!({ "service": null }));
}

#[test]
fn the_state_of_the_controller_is_data() {
    let env = Env::simulated();
    Fake::always(
        &env,
        200,
        json!({ "version": "0.1.0", "environment": "sim", "pid": 7, "started": "2026-11-23T15:46:30Z", "sequence": 12,
                "machines": 1, "units": 0 }),
    );
    env.run("controller status").succeeds().stdout_is(
        "environment: sim\nstate: running\nversion: 0.1.0\npid: 7\nstarted: 2026-11-23T15:46:30Z\nsequence: 12\n\
         machines: 1\nunits: 0\n",
    );
    env.run("controller start").succeeds().stderr_is("the controller of \"sim\" is running already\n");
    env.run("bootstrap").fails().stderr_has("environment \"sim\" is already bootstrapped");
}

#[test]
fn doctor_tells_what_is_wrong_inside() {
    let env = Env::simulated();
    Fake::always(&env, 200, json!({ "problems": ["a leaked instance"] }));
    env.run("doctor").fails().stdout_has("✗ a leaked instance\n");
}
