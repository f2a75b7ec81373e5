//! The state of an environment in a file, and back.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Env, Running};

const CHARM: &str = r#"
return charm {
  name = "db", summary = "s", series = { "bookworm" },
  config = { size = { type = "int", default = 1 } },
  hooks = { start = function(unit) unit:set_status("active", "serves") end },
}
"#;

/// One service with a unit, backed up as `one.backup`; then another unit.
fn backed_up() -> Running {
    let env = Running::bootstrapped();
    env.write("db/charm.lua", CHARM);
    env.run("deploy ./db --config size=7 --wait=30s").succeeds();
    env.run("backup -o one.backup")
        .succeeds()
        .stdout_is("one.backup\n")
        .stderr_has("Backed up environment \"sim\": 2 machines and 1 units, without the disks of the machines\n");
    env.run("history").succeeds().stdout_has("state of the environment backed up");
    env.run("add-unit db --wait=30s").succeeds();
    env
}

fn expect_as_backed_up(env: &Env) {
    env.run("wait --timeout 30s").succeeds();
    env.run("status db/0 --format json").succeeds().stdout_has("\"active\"");
    env.run("get db").succeeds().stdout_has("value: 7");
    env.run("status db/1 --format json").succeeds().stdout_has("\"services\":{}");
    // Its charm is there too: hooks of a new unit run.
    env.run("add-unit db --wait=30s").succeeds();
}

#[test]
fn a_backup_is_restored_into_a_stopped_environment_and_the_history_tells_of_it() {
    let env = backed_up();
    assert_eq!(std::fs::metadata(env.path("one.backup")).unwrap().permissions().mode() & 0o777, 0o600);
    env.run("restore one.backup")
        .fails()
        .stderr_has("error: environment \"sim\" is running\nhint: encanto controller stop -e sim\nhint: --force");
    env.run("controller stop").succeeds();
    env.run("restore one.backup").succeeds().stdout_is("").stderr_has("Restored environment \"sim\" as it was at ");
    env.run("history")
        .succeeds()
        .stdout_has(" restore one.backup ")
        .stdout_has(" state of the environment restored from the backup of ");
    expect_as_backed_up(&env);
    env.run("doctor").succeeds();
}

#[test]
fn a_running_environment_is_replaced_with_force_only() {
    let env = backed_up();
    env.run("restore one.backup --force").succeeds().stderr_has("Restored environment \"sim\"");
    expect_as_backed_up(&env);
}

#[test]
fn a_backup_in_the_midst_of_work_is_of_one_moment() {
    let env = Running::bootstrapped();
    env.write("db/charm.lua", CHARM);
    env.run("deploy ./db -n 15").succeeds();
    env.run("backup -o one.backup").succeeds();
    env.run("wait --timeout 30s").succeeds();
    env.run("restore one.backup --force").succeeds().stderr_has("16 machines and 15 units");
    env.run("wait --timeout 30s").succeeds().stderr_has("db/14: active (serves)\n");
    env.run("doctor").succeeds();
}

#[test]
fn a_destroyed_environment_comes_back() {
    let env = backed_up();
    env.run("destroy-environment sim -y").succeeds();
    env.run("restore one.backup").succeeds();
    expect_as_backed_up(&env);
}

#[test]
fn what_an_environment_wrote_last_before_it_was_killed_does_not_get_into_the_restored_one() {
    let env = backed_up();
    env.kill_controller();
    assert!(env.path("home/sim/journal.db-wal").exists(), "it was not closed");
    env.run("restore one.backup").succeeds();
    expect_as_backed_up(&env);
}

#[test]
fn a_file_that_is_no_whole_backup_changes_nothing() {
    let env = backed_up();
    let whole = std::fs::read(env.path("one.backup")).unwrap();
    std::fs::write(env.path("cut.backup"), &whole[..whole.len() - 10]).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(env.path("changed.backup"), changed).unwrap();
    env.write("other", "something else");
    for (file, words) in [
        ("cut.backup", "is not whole: "),
        ("changed.backup", "is damaged: its content does not have its checksum"),
        ("other", "error: \"other\" is not a backup\n"),
        ("nowhere", "error: cannot read \"nowhere\": no such file or directory"),
    ] {
        env.run(&format!("restore {file} --force")).fails().stdout_is("").stderr_has(words);
    }
    let settings = env.read("home/environments.yaml");
    env.write("home/environments.yaml", &settings.replace("  sim:\n", "  two:\n    type: simulated\n  sim:\n"));
    env.run("restore one.backup -e two")
        .fails()
        .stderr_is("error: \"one.backup\" is a backup of environment \"sim\", not of \"two\"\nhint: choose its environment with -e NAME\n");
    assert!(!env.path("home/two").exists());
    env.run("status db/1").succeeds().stdout_has("active");
}

#[test]
fn a_backup_can_go_into_a_pipe() {
    let env = Running::bootstrapped();
    let told = env.run("backup -o -").succeeds().stderr_has("Backed up environment \"sim\"");
    assert!(told.stdout.starts_with("encanto-backup "), "{}", &told.stdout[..80]);
    assert!(!env.path("-").exists());
}

#[test]
fn a_backup_that_cannot_be_written_leaves_nothing() {
    let env = Running::bootstrapped();
    env.run("backup -o nowhere/one.backup").fails().stderr_has("error: cannot write to \"nowhere\": ");
    env.write("folder/x", "");
    env.run("backup -o folder").fails().stderr_has("error: cannot write \"folder\": is a directory");
    env.run("backup").succeeds();
    let mut names: Vec<String> = std::fs::read_dir(env.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !["home", "folder"].contains(&name.as_str()))
        .collect();
    let backup = names.pop().unwrap();
    assert!(backup.starts_with("sim-20") && backup.ends_with(".backup") && names.is_empty(), "{backup} {names:?}");
    assert!(
        !env.path("home/sim/scratch").exists() || std::fs::read_dir(env.path("home/sim/scratch")).unwrap().count() == 0
    );
}

#[test]
fn who_asks_is_whom_the_kernel_names() {
    let env = Running::bootstrapped();
    env.run("add-machine").succeeds();
    let history = env.run("history -n 1 --format json").succeeds().stdout;
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let name = encanto::api::users::name_of(uid);
    assert_eq!(history[0]["user"], name.as_str());
    env.run(&format!("history --user {name} --since 1h 1")).succeeds().stdout_has("add-machine");
    env.run("history --user nobody-else --format json").succeeds().stdout_is("[]\n");
}
