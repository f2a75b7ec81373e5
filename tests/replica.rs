//! Copies of a real database: made while it is written to, and made again when they no longer fit it.
//!
//! Needs root and a minute: `ENCANTO_TEST_LXC=1 cargo test --test replica`.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]

mod support;

use std::process::{Child, Stdio};
use std::time::Duration;

use support::host::within;
use support::{Env, RealEnv};

/// Tables of both sorts, of which MyISAM knows no transactions, some with no key, come and are filled without end.
const WRITING: &str = r#"
n=0
while :; do
    n=$((n + 1))
    echo "CREATE TABLE kept$n (id INT PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE loose$n (id INT) ENGINE=MyISAM;"
    for id in 1 2 3 4 5 6 7 8 9; do
        echo "START TRANSACTION; INSERT INTO kept$n VALUES ($id); INSERT INTO loose$n VALUES ($id);"
        echo "INSERT INTO log (id, text) SELECT MAX(id) + 1, REPEAT('x', 500) FROM log; COMMIT;"
    done
done | mariadb trial
"#;

/// A MyISAM table that takes a while to be copied.
const BEFORE: &str = "
    CREATE DATABASE trial; USE trial;
    CREATE TABLE log (id INT UNIQUE, text TEXT) ENGINE=MyISAM;
    INSERT INTO log SELECT seq, REPEAT('x', 500) FROM seq_1_to_200000;";

fn sql(env: &Env, unit: &str, statements: &str) -> String {
    env.run_with_input(&format!("ssh {unit} mariadb --batch --skip-column-names"), statements).succeeds().stdout
}

fn copying(env: &Env, unit: &str) -> String {
    env.run_with_input(&format!("ssh {unit} mariadb"), "SHOW SLAVE STATUS\\G").succeeds().stdout
}

/// What every table of the trial holds, and how many tables there are.
fn held(env: &Env, unit: &str) -> (usize, String) {
    let tables = sql(env, unit, "SHOW TABLES FROM trial;");
    let names: Vec<String> = tables.lines().map(|name| format!("trial.{name}")).collect();
    (names.len(), sql(env, unit, &format!("CHECKSUM TABLE {};", names.join(", "))))
}

fn status(env: &Env, unit: &str) -> String {
    env.status()["services"]["mysql"]["units"][unit]["workload-status"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn same_as_the_leader(env: &Env, unit: &str) {
    let told = sql(env, "mysql/0", "SELECT @@GLOBAL.gtid_binlog_pos;");
    let waited = sql(env, unit, &format!("SELECT MASTER_GTID_WAIT('{}', 60);", told.trim()));
    assert_eq!(waited.trim(), "0", "{}", copying(env, unit));
    assert_eq!(held(env, unit), held(env, "mysql/0"));
}

/// Somebody who writes into the leader until he is told to end.
struct Writer(Child);

impl Writer {
    fn begins(env: &Env) -> Self {
        let mut child = env.command("ssh mysql/0 bash -s").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, WRITING.as_bytes()).unwrap();
        Self(child)
    }

    fn ends(mut self) {
        let said = self.0.try_wait().unwrap();
        assert!(said.is_none(), "it wrote until now: {said:?}");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_copy_is_whole_however_much_is_written_and_is_made_anew_when_it_no_longer_fits() {
    let Some(env) = RealEnv::bootstrapped("replicatest") else { return };
    env.run("deploy mysql --wait=10m").succeeds();
    sql(&env, "mysql/0", BEFORE);
    let writer = Writer::begins(&env);
    within(Duration::from_secs(30), "something is written", || held(&env, "mysql/0").0 > 3);
    env.run("add-unit mysql --wait=10m").succeeds();
    env.run("wait --timeout 5m").succeeds();
    let tables = held(&env, "mysql/0").0;
    within(Duration::from_secs(30), "writing goes on", || held(&env, "mysql/0").0 > tables);
    writer.ends();
    same_as_the_leader(&env, "mysql/1");

    // What only somebody on the machine can do to it, and what a MyISAM table gets when the machine is switched off.
    sql(&env, "mysql/1", "SET sql_log_bin = 0; INSERT INTO trial.kept1 VALUES (77);");
    sql(&env, "mysql/0", "INSERT INTO trial.kept1 VALUES (77);");
    within(Duration::from_secs(30), "it is noticed by MariaDB", || {
        copying(&env, "mysql/1").contains("Slave_SQL_Running: No")
    });
    // Its next hook.
    env.run("add-unit mysql --wait=5m").succeeds();
    within(Duration::from_secs(60), "why it is copied anew is told", || {
        let warnings = env.run("debug-log --replay --no-tail --include mysql/1 --level WARNING").stdout;
        warnings.contains("copying mysql/0 anew") && warnings.contains("Duplicate entry")
    });
    within(Duration::from_secs(60), "it is whole", || status(&env, "mysql/1").starts_with("replicating from"));
    same_as_the_leader(&env, "mysql/1");
    same_as_the_leader(&env, "mysql/2");

    // On the machine of a copy that is gone another database is nobody's copy.
    env.run("destroy-unit mysql/1 --wait=5m").succeeds();
    env.run("deploy mysql other --to 2 --wait=5m").succeeds();
    assert_eq!(sql(&env, "other/0", "SELECT @@GLOBAL.read_only;"), "0\n");
    assert_eq!(copying(&env, "other/0"), "");
    env.run("debug-log --replay --no-tail --level ERROR").succeeds().stdout_is("");
}
