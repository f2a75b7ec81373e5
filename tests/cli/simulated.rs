//! A few stories against the real controller, on machines that exist in memory only.

use std::time::{Duration, Instant};

use crate::support::Running;

#[test]
fn an_environment_lives_from_bootstrap_to_destruction() {
    let env = Running::bootstrapped();
    env.run("bootstrap")
        .fails()
        .stderr_has("error: environment \"sim\" is already bootstrapped\nhint: encanto status\n");
    env.run("status").succeeds().stdout_has("environment: sim\nmachines:\n  \"0\":\n    agent-state: started\n");
    env.run("controller status").succeeds().stdout_has("state: running\n").stdout_has("machines: 1\n");
    env.run("doctor").succeeds().stdout_is("✓ all is well\n");
    env.run_with_input("destroy-environment sim", "y\n").succeeds().stderr_has("Destroyed environment \"sim\"\n");
    assert!(!env.path("home/sim").exists());
    env.run("status").fails().stderr_has("environment \"sim\" is not bootstrapped");
}

#[test]
fn machines_come_and_go() {
    let env = Running::bootstrapped();
    env.run("add-machine").succeeds().stdout_is("").stderr_has("created machine 1\n");
    env.run("add-machine -n 2 --wait=30s").succeeds().stderr_has("machine 3: started");
    env.run("destroy-machine 1 2 --wait=30s").succeeds();
    let left = env.run("status --format json").succeeds().stdout;
    let left: serde_json::Value = serde_json::from_str(&left).unwrap();
    assert_eq!(left["machines"].as_object().unwrap().keys().collect::<Vec<_>>(), ["0", "3"]);
    env.run("add-machine").succeeds().stderr_has("created machine 4\n");
    env.run("destroy-machine 0").fails().stderr_has("machine 0 is required by the environment");
    env.run("remove-machine 9").fails().stderr_has("machine 9 does not exist");
    env.run("remove-machine x").fails().stderr_has("invalid machine id \"x\"");
    env.run("add-machine --constraints cheese").fails().stderr_has("malformed constraint \"cheese\"");
}

#[test]
fn a_controller_picks_up_where_it_was() {
    let env = Running::bootstrapped();
    env.run("add-machine --wait=30s").succeeds();
    env.run("controller stop").succeeds().stderr_has("its machines keep running");
    env.run("status").fails().stderr_has("the controller of \"sim\" is not running");
    env.run("controller start").succeeds().stderr_is("Started the controller of \"sim\"\n");
    env.run("wait --timeout 30s").succeeds();
    env.run("status").succeeds().stdout_has("\"1\":\n    agent-state: started\n");
    env.kill_controller();
    env.run("status").fails().stderr_has("hint: encanto controller start -e sim\n");
    env.run("controller start").succeeds();
    env.run("status").succeeds().stdout_has("\"1\":\n");
    env.kill_controller();
    // One that is being killed takes connections still, and holds its lock.
    let socket = env.path("home/sim/controller.sock");
    std::fs::remove_file(&socket).unwrap();
    let dying = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let lock = std::fs::File::open(env.path("home/sim/controller.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let end = std::thread::spawn(move || {
        drop(dying.accept().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(lock);
    });
    env.run("controller start").succeeds().stderr_is("Started the controller of \"sim\"\n");
    end.join().unwrap();
    env.run("status").succeeds().stdout_has("\"1\":\n");
    env.kill_controller();
    env.run("destroy-environment sim -y").succeeds();
    assert!(!env.path("home/sim").exists());
}

#[test]
fn what_is_not_there_is_told() {
    let env = Running::bootstrapped();
    let missing = "error: service \"nope\" not found\n";
    for line in ["expose nope", "unexpose nope", "add-unit nope", "get nope", "set nope a=b", "destroy-service nope"] {
        env.run(line).fails().stdout_is("").stderr_has(missing);
    }
    env.run("destroy-unit nope/0").fails().stderr_has("unit \"nope/0\" does not exist");
    env.run("destroy-unit 'x y'").fails().stderr_has("invalid unit name \"x y\"");
    env.run("relate nope other").fails().stderr_has(missing);
    env.run("deploy nope").fails().stderr_has("hint: ");
    env.run("unset nope a").fails().stdout_is("").stderr_has(missing);
    env.run("destroy-relation nope other").fails().stderr_has("error: ");
    env.run("resolved nope/0").fails().stderr_has("unit \"nope/0\" not found");
    env.run("resolved 'x y'").fails().stderr_has("invalid unit name \"x y\"");
    env.run("retry-provisioning 9").fails().stderr_has("machine 9 not found");
    env.run("show-status-log nope/0").fails().stderr_has("nothing is recorded of \"nope/0\"");
    env.run("show-status-log x").fails().stderr_has("\"x\" is neither a unit nor a machine");
    env.run("scp nope/0:/a .").fails().stderr_has("unit \"nope/0\" not found");
    env.run("status --watch 'x y'").fails().stderr_has("contains invalid characters");
    env.run("ssh nope/0 true").fails().stderr_has("unit \"nope/0\" not found");
    env.run("wait nope --timeout 1").fails().stderr_has("nope");
}

#[test]
fn the_log_can_be_followed() {
    let env = Running::bootstrapped();
    env.run("add-machine --wait=30s").succeeds();
    env.run("debug-log --no-tail -i machine-1").succeeds().stdout_has("machine-1: ");
    let nothing = env.run("debug-log --no-tail -i machine-1 -l ERROR").succeeds();
    assert_eq!(nothing.stdout, "");
    env.run("debug-log --no-tail -i '*' -x 'machine-*'").succeeds().stdout_is("");
    let one = env.run("debug-log --replay --limit 1").succeeds();
    assert_eq!(one.stdout.lines().count(), 1);
}

#[test]
fn a_question_takes_no_time() {
    let env = Running::bootstrapped();
    let fastest = (0..5).map(|_| {
        let begin = Instant::now();
        env.run("status").succeeds();
        begin.elapsed()
    });
    // A generous limit: what is meant is that nothing sleeps or polls.
    assert!(fastest.min() < Some(Duration::from_millis(200)));
}

#[test]
fn another_user_than_root_is_not_told_to_be_root() {
    let env = Running::bootstrapped();
    // Whoever runs the tests: a simulated environment needs nothing of the host.
    env.run("doctor").succeeds().stdout_is("✓ all is well\n").stderr_is("");
}

#[test]
fn of_two_bootstraps_at_once_one_wins_and_harms_nothing() {
    let env = Running::not_bootstrapped();
    let mut children: Vec<_> = (0..3).map(|_| env.command("bootstrap").spawn().unwrap()).collect();
    let codes: Vec<_> = children.iter_mut().map(|child| child.wait().unwrap().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    env.run("status").succeeds();
    env.run("controller status").succeeds().stdout_has("state: running\n");
}

#[test]
fn a_log_that_nobody_reads_any_more_is_not_followed() {
    let env = Running::bootstrapped();
    let mut child = env.command("debug-log --replay").spawn().unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut first).unwrap();
    assert!(first.starts_with("machine-0: "), "{first}");
    // Nothing is logged any more, and yet it ends.
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_environment_that_lost_its_journal_can_be_destroyed() {
    let env = Running::bootstrapped();
    env.kill_controller();
    std::fs::remove_file(env.path("home/sim/journal.db")).unwrap();
    env.run("status").fails().stderr_has("the controller of \"sim\" is not running");
    env.run("bootstrap").fails().stderr_has("hint: to begin anew: encanto destroy-environment sim\n");
    env.run("destroy-environment sim -y").succeeds();
    assert!(!env.path("home/sim").exists());
}

#[test]
fn an_environment_whose_controller_was_killed_at_work_is_destroyed_with_and_without_force() {
    for options in ["-y", "-y --force"] {
        let env = Running::bootstrapped();
        let slow = "return charm { name = 'slow', summary = 's', series = { 'bookworm' },
            hooks = { install = function() sleep(600) end } }";
        env.write("slow/charm.lua", slow);
        env.run("deploy ./slow -n 3").succeeds();
        env.run("destroy-unit slow/0").succeeds();
        env.kill_controller();
        env.run("destroy-environment sim").fails().stderr_has("environment destruction aborted");
        env.run(&format!("destroy-environment sim {options}")).succeeds().stderr_has("Destroyed environment \"sim\"");
        assert!(!env.path("home/sim").exists());
    }
}

#[test]
fn a_client_of_another_version_may_stop_a_controller_and_nothing_else() {
    use encanto::api::{Status, StopController, Verb};
    let env = Running::bootstrapped();
    let ask = |path: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(env.path("home/sim/controller.sock")).unwrap();
        let head = format!("POST /v1/{path} HTTP/1.1\r\nHost: x\r\nEncanto-Version: 99.0\r\nConnection: close\r\n");
        let text = format!("{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
        std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
        std::io::read_to_string(stream).unwrap()
    };
    let refused = ask(Status::PATH);
    assert!(refused.starts_with("HTTP/1.1 409") && refused.contains("this client is version 99.0"), "{refused}");
    assert!(ask(StopController::PATH).starts_with("HTTP/1.1 200"));
}
