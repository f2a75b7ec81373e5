//! Services of charms in a folder, on simulated machines: what an operator types from deploy to destroy-service.

use serde_json::Value;

use crate::support::{Env, Running};

const DATABASE: &str = r#"
return charm {
  name = "db",
  summary = "A database",
  series = { "bookworm" },
  provides = { db = { interface = "mysql" } },
  config = { size = { type = "int", default = 3, description = "How large" } },
  hooks = {
    ["config-changed"] = function(unit)
      if unit.config.size > 100 then error("too large") end
    end,
    start = function(unit)
      unit:open_port(3306)
      unit:set_status("active", "serving")
    end,
  },
}
"#;

const APPLICATION: &str = r#"
return charm {
  name = "app",
  summary = "An application",
  series = { "bookworm" },
  requires = { db = { interface = "mysql" } },
  hooks = {
    start = function(unit) unit:set_status("active", "ready") end,
  },
}
"#;

fn with_charms() -> Running {
    // What fails here stays so: nobody waits for another try.
    let env = Env::simulated();
    let settings = env.read("home/environments.yaml");
    let patient = "type: simulated\n    automatically-retry-hooks: false";
    env.write("home/environments.yaml", &settings.replace("type: simulated", patient));
    let env = Running::bootstrapped_in(env);
    env.write("db/charm.lua", DATABASE).write("app/charm.lua", APPLICATION);
    env
}

fn status(env: &Running) -> Value {
    serde_json::from_str(&env.run("status --format json").succeeds().stdout).unwrap()
}

#[test]
fn a_service_is_deployed_related_exposed_and_destroyed() {
    let env = with_charms();
    env.run("deploy ./db --wait=30s").succeeds().stdout_is("").stderr_has("db/0: active (serving)\n");
    env.run("deploy ./app -n 2 --expose").succeeds();
    env.run("integrate app db").succeeds();
    env.run("wait --timeout 30s").succeeds();

    let now = status(&env);
    assert_eq!(now["services"]["db"]["units"]["db/0"]["open-ports"], serde_json::json!(["3306/tcp"]));
    assert_eq!(now["services"]["db"]["relations"], serde_json::json!({ "db": ["app"] }));
    assert_eq!(now["services"]["app"]["exposed"], true);
    env.run("unexpose app").succeeds();
    env.run("expose db").succeeds();
    assert_eq!(status(&env)["services"]["app"]["exposed"], false);
    assert_eq!(status(&env)["services"]["db"]["exposed"], true);
    env.run("status db/0").succeeds().stdout_has("      db/0:\n").stdout_has("  db:\n");
    env.run("debug-log --no-tail -i db").succeeds();

    env.run("add-unit db -n 2 --wait=30s").succeeds().stderr_has("db/2: active (serving)\n");
    env.run("destroy-machine 1").fails().stderr_has("machine 1 has unit \"db/0\" assigned");
    env.run("destroy-unit db/1 db/2 --wait=30s").succeeds();
    env.run("remove-application app db --wait=30s").succeeds();
    assert_eq!(status(&env)["services"], serde_json::json!({}));
    env.run("doctor").succeeds();
}

#[test]
fn settings_are_checked_before_anything_changes() {
    let env = with_charms();
    env.run("deploy ./db --config size=large").fails().stderr_has("option \"size\" expected int, got \"large\"");
    env.run("deploy ./db --config colour=red").fails().stderr_has("unknown option \"colour\"");
    env.run("deploy ./db --config size=5 --constraints cheese").fails().stderr_has("malformed constraint \"cheese\"");
    assert_eq!(status(&env)["services"], serde_json::json!({}));

    env.write("settings.yaml", "db:\n  size: 7\n");
    env.run("deploy ./db --config settings.yaml --wait=30s").succeeds();
    env.run("deploy ./db").fails().stderr_has("cannot add service \"db\": service already exists");
    env.run("get db size").succeeds().stdout_is("7\n");
    env.run("set db size=x").fails().stderr_has("option \"size\" expected int, got \"x\"");
    env.run("set db size=9 colour=red").fails().stderr_has("unknown option \"colour\"");
    env.run("config db size").succeeds().stdout_is("7\n");
    env.run("config db size=9 --wait=30s").succeeds();
    env.run("get db").succeeds().stdout_has("    value: 9\n").stdout_has("    type: int\n");
}

#[test]
fn a_hook_that_fails_is_the_reason_a_wait_gives() {
    let env = with_charms();
    env.run("deploy ./db --config size=500 --wait=30s")
        .fails()
        .stderr_has("error: it will not get there by itself: ")
        .stderr_has("hook failed: \"config-changed\"")
        .stderr_has("too large");
    assert_eq!(status(&env)["services"]["db"]["units"]["db/0"]["agent-state"], "error");
    env.run("debug-log --no-tail -l ERROR").succeeds().stdout_has("unit-db-0: ").stdout_has("too large");
    env.run("destroy-service db --force --wait=30s").succeeds();
}

#[test]
fn endpoints_that_do_not_fit_are_told() {
    let env = with_charms();
    env.run("deploy ./db").succeeds();
    env.run("deploy ./db other").succeeds();
    env.run("add-relation db other").fails().stderr_has("error: ");
    env.run("add-relation db:wrong other").fails().stderr_has("service \"db\" has no \"wrong\" relation");
    env.run("deploy ./app").succeeds();
    env.run("add-relation app db").succeeds();
    env.run("add-relation app db").fails().stderr_has("relation already exists");
}

#[test]
fn a_machine_whose_only_unit_goes_is_not_told_to_be_gone() {
    let env = Running::bootstrapped();
    let slow = "return charm { name = 'slow', summary = 's', series = { 'bookworm' },
        hooks = { start = function() end, stop = function() sleep(0.5) end } }";
    env.write("slow/charm.lua", slow);
    env.run("deploy ./slow --wait=30s").succeeds();
    let told = env.run("destroy-unit slow/0 --wait=30s").succeeds().stderr;
    assert!(!told.contains("machine 1: gone"), "it stays: {told}");
    env.run("destroy-machine 1 --wait=30s").succeeds();
}

#[test]
fn a_slip_of_the_finger_adds_nothing() {
    let env = with_charms();
    for line in ["deploy ./db -n 0", "deploy ./db -n -3", "deploy ./db -n x", "add-unit db -n 0"] {
        env.run(line).misused().stderr_has("' for '--num-units <N>': must be a positive integer\n");
    }
    env.run("add-machine -n 0")
        .misused()
        .stderr_has("invalid value '0' for '--num-machines <N>': must be a positive integer\n");
    let many = "cannot add 100000 at once: the most is 1000\n";
    env.run("deploy ./db -n 100000").fails().stderr_has(many);
    env.run("add-machine -n 100000").fails().stderr_has(many);
    env.run("deploy ./db --to 0").fails().stderr_has("hint: without --to it gets a machine of its own\n");
    let now = status(&env);
    assert_eq!((now["services"].as_object().unwrap().len(), now["machines"].as_object().unwrap().len()), (0, 1));
}

#[test]
fn a_machine_that_stays_says_why_and_what_to_do() {
    let env = with_charms();
    env.run("deploy ./db --wait=30s").succeeds();
    env.run("destroy-machine 0").fails().stderr_is(
        "error: no machines were destroyed: machine 0 is required by the environment\n\
         hint: machine 0 is this host; `encanto destroy-environment` takes everything down\n",
    );
    env.run("destroy-machine 0 --force").fails();
    env.run("destroy-machine 7 8").fails().stderr_is(
        "error: no machines were destroyed: machine 7 does not exist; machine 8 does not exist\n\
         hint: `encanto status` lists the machines\n",
    );
    env.run("destroy-machine 1").fails().stderr_has("hint: destroy its units first, or use --force to destroy both");
}

#[test]
fn a_charm_with_mistakes_is_not_deployed_and_all_are_told() {
    let env = Running::bootstrapped();
    env.write(
        "bad/charm.lua",
        "return charm { name = \"bad\", sumary = \"x\", series = { \"bookworm\" },\n  hooks = { instal = print } }\n",
    );
    env.run("deploy ./bad")
        .fails()
        .stderr_has("error: cannot deploy: charm.lua:")
        .stderr_has("unknown key \"sumary\", did you mean \"summary\"?")
        .stderr_has("charm.lua:2: unknown hook \"instal\", did you mean \"install\"?");
    env.write("syntax/charm.lua", "return charm {\n  name = \"x\" summary = \"y\",\n}\n");
    env.run("deploy ./syntax").fails().stderr_is(
        "error: cannot deploy: charm.lua:2: Expected ',' after table constructor element\n  \
         \u{20}   2 |   name = \"x\" summary = \"y\",\n",
    );
    env.run("deploy ./none")
        .fails()
        .stderr_is("error: no charm was found at \"./none\"\nhint: there is no such folder\n");
    assert_eq!(status(&env)["services"], serde_json::json!({}));
    env.run("deploy mysql").succeeds();
    env.run("upgrade-charm mysql --path ./syntax")
        .fails()
        .stderr_has("error: cannot upgrade service \"mysql\": charm.lua:2: Expected ',' after");
}

#[test]
fn an_ambiguous_relation_lists_what_it_could_be() {
    let env = with_charms();
    let two = DATABASE
        .replace("name = \"db\"", "name = \"two\"")
        .replace("db = { interface = \"mysql\" }", "a = { interface = \"mysql\" }, b = { interface = \"mysql\" }");
    env.write("two/charm.lua", &two);
    env.run("deploy ./two").succeeds();
    env.run("deploy ./app").succeeds();
    env.run("add-relation app two").fails().stderr_is(
        "error: ambiguous relation: \"app two\" could refer to \"app:db two:a\"; \"app:db two:b\"\n\
         hint: name the endpoints, e.g. `encanto add-relation app:db two:a`\n",
    );
    env.run("add-relation app app").fails().stderr_has("a relation must involve two services\nhint: ");
    env.run("add-relation app: two").fails().stderr_has("invalid endpoint \"app:\"\nhint: ");
    env.run("add-relation app two:b").succeeds();
}

#[test]
fn a_failed_hook_is_resolved_and_the_log_tells_of_it() {
    let env = with_charms();
    env.run("resolved db/0").fails();
    env.run("deploy ./db --config size=500 --wait=30s").fails();
    env.run("set db size=5").succeeds();
    env.run("resolved db/0 --retry --wait=30s").succeeds().stdout_is("");
    env.run("resolve db/0").fails().stderr_has("unit \"db/0\" is not in an error state");
    env.run("status-history db/0")
        .succeeds()
        .stdout_has("TIME                 TYPE     STATUS    MESSAGE\n")
        .stdout_has(" agent    error     config-changed: ")
        .stdout_has(" workload active    serving\n");
    assert_eq!(env.run("show-status-log db/0 -n 1").succeeds().stdout.lines().count(), 2);
    env.run("show-status-log 1 --format yaml").succeeds().stdout_has("  state: started\n");
    env.run("retry-provisioning 1").fails().stderr_has("error: ");
    env.run("history")
        .succeeds()
        .stdout_has("COMMAND")
        .stdout_has(" deploy ./db ")
        .stdout_has(" resolved db/0 --retry ")
        .stdout_has("service db: size set");
    env.run("history -n 1 --format json").succeeds().stdout_has("resolved db/0 --retry");
    env.run("destroy-service db --force --wait=30s -q").succeeds();
    let history = env.run("history --format json").succeeds().stdout;
    assert!(history.contains("\"destroy-service db --force\""), "{history}");
    assert!(!history.contains("500") && !history.contains("quiet") && !history.contains("wait"), "{history}");
}

#[test]
fn a_relation_goes_and_comes_again() {
    let env = with_charms();
    env.run("deploy ./db").succeeds();
    env.run("deploy ./app").succeeds();
    env.run("add-relation app db --wait=30s").succeeds();
    env.run("status --format dot").succeeds().stdout_has("  \"app\" -- \"db\" [label=\"db\"];\n");
    env.run("status --format svg").succeeds().stdout_has("<path class=\"line\"");
    env.run("remove-relation app:db db:db --wait=30s").succeeds().stdout_is("");
    assert_eq!(status(&env)["services"]["db"].get("relations"), None);
    env.run("destroy-relation app db").fails().stderr_has("error: ");
    env.run("integrate app db --wait=30s").succeeds();
    env.run("status --format oneline").succeeds().stdout_has("\n- db/0: ").stdout_has(" (started) 3306/tcp\n");
    env.run("status --format summary").succeeds().stdout_has(" # MACHINES: (3)\n").stdout_has("active:  2 \n");
}

#[test]
fn what_holds_up_a_removal_is_named_and_can_be_left_behind() {
    let env = with_charms();
    let clumsy = "return charm { name = 'clumsy', summary = 's', series = { 'bookworm' },
        requires = { db = { interface = 'mysql' } },
        hooks = { start = function() end, ['db-relation-departed'] = function() error('I cannot let go') end } }";
    env.write("clumsy/charm.lua", clumsy);
    env.run("deploy ./db").succeeds();
    env.run("deploy ./clumsy").succeeds();
    env.run("add-relation clumsy db --wait=30s").succeeds();
    env.run("destroy-service db --wait=30s").fails().stderr_has(
        "service db is dying: waits for clumsy/0, in error at hook db-relation-departed: `encanto resolved clumsy/0`, \
         or `encanto destroy-service db --force`",
    );
    env.run("status --format tabular")
        .succeeds()
        .stdout_has("clumsy/0* error")
        .stdout_has("hook failed: \"db-relation-departed\": charm.lua:3: I cannot let go")
        .stdout_has("clumsy  db       db     dying: waits for clumsy/0, in error at hook db-relation-departed");
    env.run("remove-relation clumsy db --force --wait=30s").succeeds();
    let now = status(&env);
    assert_eq!((now["services"].get("db"), now.get("dying-relations")), (None, None));
    assert_eq!(now["services"]["clumsy"]["units"]["clumsy/0"]["agent-state"], "started");
}

#[test]
fn a_setting_gets_its_default_again() {
    let env = with_charms();
    env.run("deploy ./db --config size=9 --wait=30s").succeeds();
    env.run("unset db colour").fails().stderr_has("unknown option \"colour\"");
    env.run("unset db size --wait=30s").succeeds();
    env.run("get db size").succeeds().stdout_is("3\n");
    env.run("set db size=8").succeeds();
    env.run("config db --reset size --wait=30s").succeeds();
    env.run("get db size").succeeds().stdout_is("3\n");
}

#[test]
fn a_watched_status_shows_what_changes() {
    use std::io::{BufRead, BufReader};
    let env = with_charms();
    let mut watching = env.command("status --watch --format json").spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["services"], serde_json::json!({}));
    env.run("deploy ./db").succeeds();
    while next()["services"]["db"]["units"]["db/0"]["agent-state"] != "started" {}
    let pid = rustix::process::Pid::from_child(&watching);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(130));
}

#[test]
fn a_folder_of_charms_comes_before_the_built_in_ones() {
    let env = Env::simulated();
    let own = "return charm { name = \"mysql\", summary = \"mine\", series = { \"bookworm\" },\n  \
               hooks = { start = function(unit) unit:set_status(\"active\", \"my own\") end } }\n";
    env.write("home/charms/mysql/charm.lua", own);
    let settings = env
        .read("home/environments.yaml")
        .replace("    type: simulated", "    type: simulated\n    repository: charms");
    env.write("home/environments.yaml", &settings);
    let env = Running::bootstrapped_in(env);
    for charm in ["mysql", "local:bookworm/mysql two", "cs:precise/mysql-28 three"] {
        env.run(&format!("deploy {charm} --wait=30s")).succeeds().stderr_has("active (my own)");
    }
    env.run("deploy haproxy").succeeds();
}

#[test]
fn a_subordinate_is_listed_below_the_unit_that_it_is_with() {
    let env = with_charms();
    env.write(
        "log/charm.lua",
        "return charm { name = \"log\", summary = \"s\", series = { \"bookworm\" }, subordinate = true,
           requires = { info = { interface = \"juju-info\", scope = \"container\" } },
           hooks = { start = function(unit) unit:open_port(\"514/udp\") unit:set_status(\"active\", \"reads\") end } }\n",
    );
    env.run("deploy ./db --wait=30s").succeeds();
    env.run("deploy ./log --to 1").fails().stderr_has("cannot use --num-units or --to with subordinate service");
    env.run("deploy ./log --wait=30s")
        .succeeds()
        .stderr_is("units come with a relation, e.g. `encanto add-relation log mysql`\n");
    env.run("add-relation log db --wait=30s").succeeds().stderr_has("log/0: active (reads)\n");
    let address = status(&env)["machines"]["1"]["dns-name"].as_str().unwrap().to_owned();
    env.run("status log --format short")
        .succeeds()
        .stdout_is(&format!("\n- db/0: {address} (started) 3306/tcp\n  - log/0: {address} (started) 514/udp\n"));
    env.run("status --format yaml")
        .succeeds()
        .stdout_has(
            "        subordinates:\n          log/0:\n            workload-status:\n              current: active\n",
        )
        .stdout_has("    subordinate-to:\n    - db\n");
    env.run("status --format tabular")
        .succeeds()
        .stdout_has("\n  log/0* active         started     0.1.0           514/udp  ");
    env.run("status --format dot").succeeds().stdout_has("  \"db\" -- \"log\" [label=\"juju-info – info\"];\n");
    env.run("destroy-unit log/0").fails().stderr_is(
        "error: no units were destroyed: unit \"log/0\" is a subordinate\n\
         hint: `encanto destroy-relation log db` takes it off, `encanto destroy-unit db/0` both\n",
    );
    env.run("destroy-unit db/0 --wait=30s").succeeds().stderr_has("db/0: gone\n");
    env.run("wait db/0 --for gone").succeeds().stderr_has("db/0: gone\n");
}

#[test]
fn containers_live_on_machines() {
    let env = with_charms();
    env.run("set-constraints mem=1G").succeeds().stdout_is("").stderr_is("");
    env.run("deploy ./db --constraints root-disk=8G --wait=30s")
        .succeeds()
        .stderr_has("root-disk: recorded only, this provider does not enforce it\n");
    env.run("deploy ./app other --to 1 --constraints mem=64M --wait=30s")
        .succeeds()
        .stderr_has("constraints are for new machines: machine 1 stays as it is\n");
    env.run("destroy-service other --wait=30s").succeeds();
    env.run("deploy ./app --to lxc:1 --wait=30s").succeeds().stderr_has("created container 1/lxc/0\n");
    env.run("wait 1/lxc/0 --for started --timeout 30s").succeeds();
    let machine = &status(&env)["machines"]["1"];
    assert_eq!(machine["hardware"], "arch=amd64 cpu-cores=4 mem=1024M");
    assert_eq!(machine["containers"]["1/lxc/0"]["instance-state"], "running");
    env.run("status --format tabular").succeeds().stdout_has("\n1/lxc/0 started ").stdout_has(" 1/lxc/0 ");
    env.run("show-status-log 1/lxc/0").succeeds().stdout_has("started");
    env.run("debug-log --no-tail -i 1/lxc/0").succeeds().stdout_has("machine-1-lxc-0: ");
    env.run("history").succeeds().stdout_has("environment: constraints set to \"mem=1024M\"");
    env.run("ssh 1/lxc/9 true").fails().stderr_has("machine 1/lxc/9 not found");
    env.run("destroy-unit app/0 --wait=30s").succeeds();
    env.run("destroy-unit db/0 --wait=30s").succeeds();
    env.run("destroy-machine 1")
        .fails()
        .stderr_has("no machines were destroyed: machine 1 is hosting containers \"1/lxc/0\"\n")
        .stderr_has("hint: destroy its containers first, or use --force to destroy them with it\n");
    env.run("remove-machine 1 --force --wait=30s").succeeds();
    env.run("doctor").succeeds();
}
