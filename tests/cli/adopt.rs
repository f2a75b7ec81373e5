//! machine adopt, machine release and machine list --all, as they are typed and as they are told.

use serde_json::json;

use crate::support::fake::{Fake, Reply};
use crate::support::{Env, Running};

#[test]
fn what_is_typed_is_sent() {
    let sends = |line: &str, verb: &str, body: serde_json::Value| {
        let env = Env::simulated();
        let fake = Fake::always(&env, 200, json!({}));
        env.run(line).succeeds();
        let asked = fake.was_asked();
        assert_eq!((asked.verb.as_str(), &asked.body), (verb, &body), "{line}");
        asked.header("encanto-command").to_owned()
    };
    let adoption = |origin: Option<&str>, filesystem: Option<&str>, kind: Option<&str>| json!({ "origin": origin, "kind": kind, "filesystem": filesystem, "name": null, "ram": null, "vcpu": null });
    assert_eq!(
        sends("machine adopt web --kind kvm", "adopt-machine", adoption(Some("web"), None, Some("kvm"))),
        "machine adopt web --kind kvm"
    );
    let mut folder = adoption(None, Some("/srv/root"), None);
    folder["ram"] = json!(512);
    folder["vcpu"] = json!(1);
    folder["name"] = json!("shop");
    sends("machine adopt --filesystem /srv/root --ram 512 --vcpu 1 --name shop", "adopt-machine", folder);
    sends("machine release 1 shop", "release-machine", json!({ "machines": ["1", "shop"] }));
}

#[test]
fn a_folder_is_meant_from_where_the_operator_stands() {
    let env = Env::simulated();
    let fake = Fake::always(&env, 200, json!({}));
    env.run("machine adopt --filesystem root").succeeds();
    let sent = fake.was_asked().body["filesystem"].as_str().unwrap().to_owned();
    assert_eq!(sent, env.path("root").display().to_string());
}

#[test]
fn what_makes_no_sense_is_not_sent() {
    let env = Env::simulated();
    env.run("machine release").misused().stderr_has("error: no machines specified\n");
    env.run("machine adopt web --filesystem /srv").misused().stderr_has("cannot be used with");
    env.run("machine adopt --filesystem /srv --ram 0").misused().stderr_has("must be a positive integer");
}

#[test]
fn all_that_is_on_the_host_is_listed() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |asked, _| {
        Reply::Json(
            200,
            match asked.verb.as_str() {
                "list-machines" => json!({ "machines": [
                    { "machine": "0", "instance": "localhost", "state": "started" },
                    { "machine": "1", "instance": "me-sim-machine-1", "kind": "lxc", "state": "started",
                      "info": "adopted: lxc web" },
                ] }),
                _ => json!({ "machines": [
                    { "kind": "kvm", "name": "desktop", "state": "running", "series": "trixie" },
                    { "kind": "lxc", "name": "old", "state": "stopped", "obstacle": "there is no systemd in it" },
                ] }),
            },
        )
    });
    let table = env.run("machine list --all --format tabular").succeeds().stdout;
    insta::assert_snapshot!(table, @r"
    ID INSTANCE         KIND STATE   MESSAGE
    0  localhost             started
    1  me-sim-machine-1 lxc  started adopted: lxc web
    -  desktop          kvm  running not managed
    -  old              lxc  stopped not managed: there is no systemd in it
    ");
    assert_eq!(fake.asked().len(), 2);
    let told = env.run("machine list --all --format json").succeeds().stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told[2]["machine"], &told[2]["instance"]), (&json!("-"), &json!("desktop")));
    let managed = env.run("machine list --format json").succeeds().stdout;
    assert!(!managed.contains("desktop"), "{managed}");
}

#[test]
fn refusals_of_a_controller() {
    let env = Running::bootstrapped();
    env.run("machine adopt web").fails().stdout_is("").stderr_is(
        "error: there is no container or virtual machine \"web\" on this host\n\
         hint: there are no machines to adopt yet\n\
         hint: `encanto machine list --all` shows all that there is\n",
    );
    env.run("add-machine --wait=30s").succeeds();
    env.run("machine release 1").fails().stdout_is("").stderr_is(
        "error: no machines were released: machine 1 was not adopted: the environment made it\n\
         hint: `encanto destroy-machine 1` removes it\n",
    );
    env.run("machine release 9").fails().stderr_has("machine 9 does not exist");
}
