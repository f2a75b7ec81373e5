//! Which environments there are, and which is meant.

use std::fs;

use crate::support::Env;

#[test]
fn init_writes_the_file_once() {
    let env = Env::bare();
    let boilerplate = env.run("init --show").succeeds().stderr_is("").stdout;
    assert!(!env.path("home").exists());
    env.run("init").succeeds().stdout_is("").stderr_has("has been written to ~/home/environments.yaml\n");
    assert_eq!(env.read("home/environments.yaml"), boilerplate);

    env.write("home/environments.yaml", "mine");
    env.run("init").fails().stderr_is(
        "error: an environment configuration already exists: \"~/home/environments.yaml\"\n\
         hint: encanto init -f overwrites it\n",
    );
    assert_eq!(env.read("home/environments.yaml"), "mine");
    env.run("-q init -f").succeeds().stderr_is("");
    assert_eq!(env.read("home/environments.yaml"), boilerplate);
}

#[test]
fn home_is_in_the_users_home_if_nothing_else_is_said() {
    let env = Env::bare().with("ENCANTO_HOME", "");
    env.run("init").succeeds();
    assert!(env.path(".encanto/environments.yaml").exists());
}

#[test]
fn before_init_every_command_says_so() {
    for line in ["status", "bootstrap", "switch", "switch sim", "destroy-environment sim", "ssh mysql/0"] {
        Env::bare().run(line).fails().stderr_is(
            "error: no environments are defined: \"~/home/environments.yaml\" does not exist\nhint: encanto init\n",
        );
    }
}

#[test]
fn switch_shows_and_changes_the_current_environment() {
    let env = Env::bare();
    env.run("init").succeeds();
    env.run("switch").succeeds().stdout_is("Current environment: \"local\"\n");
    env.run("switch sim").succeeds().stdout_is("Changed default environment from \"local\" to \"sim\"\n");
    env.run("switch -l")
        .succeeds()
        .stdout_is("Current environment: \"sim\"\n\nEnvironments:\n\tlocal\n\tlibvirt-lxc\n\tlibvirt-kvm\n\tsim\n");
    env.run("switch nowhere").fails().stderr_is(
        "error: \"nowhere\" is not a name of an existing defined environment\nhint: encanto switch --list\n",
    );
    env.run("switch").succeeds().stdout_is("Current environment: \"sim\"\n");
}

#[test]
fn the_option_wins_over_the_variable_and_the_variable_over_the_switch() {
    let env = Env::simulated().with("ENCANTO_ENV", "local");
    env.run("status").fails().stderr_has("environment \"local\" is not bootstrapped");
    env.run("status -e sim").fails().stderr_has("environment \"sim\" is not bootstrapped");
    env.run("-e nowhere status").fails().stderr_has("\"nowhere\" is not a name of an existing defined environment");
    env.run("switch").succeeds().stdout_is("Current environment: \"local\"\n");
    env.run("switch sim").fails().stderr_is(
        "error: cannot switch when ENCANTO_ENV is overriding the environment (set to \"local\")\n\
         hint: unset ENCANTO_ENV\n",
    );
}

#[test]
fn without_a_default_the_only_environment_is_meant() {
    let env = Env::bare();
    env.write("home/environments.yaml", "environments: {one: {type: simulated}}\n");
    env.run("status").fails().stderr_has("environment \"one\" is not bootstrapped");
    env.write("home/environments.yaml", "environments: {one: {type: simulated}, two: {type: local}}\n");
    env.run("status").fails().stderr_is(
        "error: no environment is chosen, and \"~/home/environments.yaml\" names no default\nhint: encanto switch NAME\n",
    );
}

#[test]
fn a_bad_file_is_told_with_its_line() {
    let cases = [
        ("environments:\n  a:\n    type: local\n    colour: red\n", ", line 4: environments.a: unknown field `colour`"),
        (
            "environments:\n  a:\n    type: ec2\n",
            ": environments.a: unknown type \"ec2\": write `local`, `remote`, `libvirt` or `simulated`\n",
        ),
        (
            "environments:\n  a:\n    type: local\n    log-size: 20\n",
            ", line 3: environments.a: invalid log-size \"20\": write `20M`, from 1M to 100G\n",
        ),
        (
            "environments:\n  a: {type: libvirt}\n",
            ": environments.a: `type: libvirt` needs a `uri:`, e.g. `uri: qemu:///system`\n",
        ),
        (
            "environments:\n  a: {type: local, uri: 'lxc:///'}\n",
            ": environments.a: only `type: libvirt` and `type: remote` have a `uri:`\n",
        ),
        (
            "environments:\n  a:\n    type: libvirt\n    uri: xen:///\n",
            ": environments.a: invalid uri \"xen:///\": no machines are made by \"xen\"; write `lxc:///` for \
             containers, `qemu:///system` for virtual machines\n",
        ),
        ("environments:\n  a: 5\n", ", line 2: environments.a: invalid type: integer `5`"),
        ("environments:\n  a: {type: local}\n  a: {type: local}\n", "duplicate entry with key \"a\""),
        ("default: a\n", "missing field `environments`"),
        ("a: [1\n", ", line 2: "),
    ];
    for (text, reason) in cases {
        let env = Env::bare();
        env.write("home/environments.yaml", text);
        let ran = env.run("status").fails().stderr_has("error: \"~/home/environments.yaml\"").stderr_has(reason);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

#[test]
fn a_bad_name_is_told() {
    let env = Env::bare();
    env.write("home/environments.yaml", "environments: {'../up': {type: simulated}}\n");
    env.run("status").fails().stderr_is("error: \"~/home/environments.yaml\": invalid environment name \"../up\"\n");
}

#[test]
fn a_bomb_misused_at_once() {
    let env = Env::bare();
    env.write("home/environments.yaml", &"[".repeat(300_000));
    env.run("status").fails().stderr_has("brackets nest deeper");
    env.write("home/environments.yaml", &"# much\n".repeat(300_000));
    env.run("status").fails().stderr_has("longer than 1024 KiB");
}

#[test]
fn what_cannot_be_written_is_an_error_in_one_line() {
    let env = Env::bare();
    env.write("home", "a file where the folder should be");
    env.run("init").fails().stderr_is("error: cannot write \"~/home/environments.yaml\": not a directory\n");
}

#[test]
fn a_dead_controller_is_told_from_one_that_never_was() {
    let env = Env::simulated();
    env.run("status")
        .fails()
        .stderr_is("error: environment \"sim\" is not bootstrapped\nhint: encanto bootstrap -e sim\n");
    env.write("home/sim/journal.db", "");
    for line in ["status", "deploy mysql", "ssh mysql/0", "debug-log", "wait"] {
        env.run(line)
            .fails()
            .stderr_is("error: the controller of \"sim\" is not running\nhint: encanto controller start -e sim\n");
    }
    env.run("bootstrap").fails().stderr_is(
        "error: environment \"sim\" is already bootstrapped\nhint: encanto controller start -e sim\n\
                    hint: to begin anew: encanto destroy-environment sim\n",
    );
    env.run("controller status").fails().stdout_is("environment: sim\nstate: stopped\n");
    env.run("controller stop").succeeds().stderr_is("the controller of \"sim\" is not running\n");
    // A socket nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(env.path("home/sim/controller.sock")).unwrap());
    env.run("status").fails().stderr_has("the controller of \"sim\" is not running");
}

#[test]
fn destroying_asks_first() {
    let env = Env::simulated();
    env.run("destroy-environment sim -y").fails().stderr_has("environment \"sim\" is not bootstrapped");
    env.run("destroy-environment nowhere -y").fails().stderr_has("is not a name of an existing defined environment");
    env.run("destroy-environment").misused().stderr_has("error: no environment specified\n");
    env.write("home/sim/journal.db", "");
    for answer in ["", "n\n", "perhaps\n"] {
        env.run_with_input("destroy-environment sim", answer)
            .fails()
            .stderr_has("WARNING: this command will destroy the \"sim\" environment (type: simulated)\n")
            .stderr_has("\n\nContinue [y/N]? ")
            .stderr_has("error: environment destruction aborted\n");
    }
    assert!(fs::exists(env.path("home/sim/journal.db")).unwrap());
}

#[test]
fn a_home_that_is_too_deep_for_a_socket_is_told() {
    let env = Env::bare();
    let home = env.path(&"h".repeat(110)).display().to_string();
    let env = env.with("ENCANTO_HOME", &home);
    env.run("init").succeeds();
    for line in ["bootstrap -e sim", "status -e sim"] {
        env.run(line)
            .fails()
            .stderr_has("/sim/controller.sock\" is too long for a socket (at most 107 bytes)\n")
            .stderr_has("hint: choose a shorter home by the variable ENCANTO_HOME\n");
    }
}

#[test]
fn an_environment_whose_machines_could_not_be_named_is_refused() {
    let env = Env::bare();
    env.run("init").succeeds();
    let name = "x".repeat(32);
    let settings = env.read("home/environments.yaml");
    env.write("home/environments.yaml", &settings.replace("  sim:\n", &format!("  {name}:\n")));
    let ran = env.run(&format!("bootstrap -e {name}")).fails();
    ran.stderr_has(&format!("error: environment name \"{name}\" is too long: machines get names like "))
        .stderr_has(", of at most 63 characters\nhint: choose a name of at most ");
    assert!(!env.path(&format!("home/{name}")).exists());
}
