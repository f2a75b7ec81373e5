//! What ends a command before its time: a limit, its caller, or a connection that is lost.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::boot::{greet, greeting, version};
use super::super::link::Link;
use super::{EARLY, FakeMachine, Inside, Way as _, Wire, exec, inside, shell};
use crate::provider::{ExecEnd, ExecRequest, Execution, ProviderError};

/// Begins two processes of one group; their numbers.
async fn two_processes(one: &Inside, timeout: Option<Duration>) -> (Execution, [i32; 2]) {
    let script = "sleep 300 & echo $$ $!; wait";
    let mut run = one.exec(ExecRequest { timeout, ..shell(script) }).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(run.stdout.read_u8().await.unwrap());
    }
    let numbers: Vec<i32> =
        String::from_utf8(line).unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect();
    (run, [numbers[0], numbers[1]])
}

fn runs(process: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

async fn gone(processes: [i32; 2]) {
    let begun = Instant::now();
    while processes.into_iter().any(runs) {
        assert!(begun.elapsed() < Duration::from_secs(10), "one of {processes:?} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_time_limit_kills_the_whole_group() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let (mut run, processes) = two_processes(&one, Some(Duration::from_millis(300))).await;
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::TimedOut);
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::TimedOut);
    gone(processes).await;
    // One that ended in time did, however late it is asked.
    let quick = ExecRequest { timeout: Some(Duration::from_millis(300)), ..shell("exit 3") };
    let mut run = one.exec(quick).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(3));
}

#[tokio::test]
async fn a_caller_kills_by_a_word_or_by_going_away() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let (mut run, processes) = two_processes(&one, None).await;
    run.control.kill();
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(137));
    gone(processes).await;
    let (run, processes) = two_processes(&one, None).await;
    drop(run);
    gone(processes).await;
    // The streams alone do not keep a command.
    let (run, processes) = two_processes(&one, None).await;
    let Execution { control, mut stdout, .. } = run;
    drop(control);
    assert_eq!(stdout.read(&mut [0; 8]).await.unwrap(), 0);
    gone(processes).await;
}

#[tokio::test]
async fn a_controller_that_dies_takes_its_commands_along() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let (run, processes) = two_processes(&one, None).await;
    // All that a killed process does: its end of the port is closed.
    one.slot.lock().await.take().unwrap().cut();
    gone(processes).await;
    drop(run);
}

#[tokio::test]
async fn what_a_killed_helper_left_is_ended_before_the_next_command() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let (mut run, processes) = two_processes(&one, None).await;
    machine.kill_helper();
    let lost = run.control.wait().await;
    assert!(matches!(lost, Err(ProviderError::Enter { .. })), "{lost:?}");
    assert_eq!(exec(&one, shell("echo again"), b"").await.text(), "again");
    assert!(!processes.into_iter().any(runs));
}

#[tokio::test]
async fn a_second_controller_ends_the_first_ones_commands() {
    let machine = FakeMachine::new();
    let (first, second) = (inside(&machine), inside(&machine));
    let (mut run, processes) = two_processes(&first, None).await;
    assert_eq!(exec(&second, shell("echo second"), b"").await.text(), "second");
    assert!(!processes.into_iter().any(runs));
    let lost = run.control.wait().await;
    assert!(matches!(lost, Err(ProviderError::Enter { .. })), "{lost:?}");
}

#[tokio::test]
async fn what_was_left_in_the_port_is_skipped() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let (output, input) = tokio::io::split(ours);
    let mut wire = Wire { input: Box::new(input), output: Box::new(output) };
    theirs.write_all(&vec![b'\n'; 30_000]).await.unwrap();
    theirs.write_all(b"\nencanto 1 other\nrest of it\nencanto 1 mine\nfirst frame").await.unwrap();
    let ahead = greet(&mut wire, b"\nencanto 1 mine\n").await.unwrap();
    assert_eq!(&ahead[..], b"first frame");
    let mut said = [0; 16];
    theirs.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"\nencanto 1 mine\n");
}

#[tokio::test]
async fn whoever_greets_a_helper_that_is_there_ends_what_it_ran() {
    let machine = FakeMachine::new();
    let mut wire = machine.connect().await.unwrap();
    let arguments = json!({"arg": ["", "", "", version(), "", "mark"]});
    machine.begin_helper(&arguments);
    wire.input.write_all(b"the rest of a frame").await.unwrap();
    greet(&mut wire, &greeting()).await.unwrap();
    let one = inside(&machine);
    let link = Link::serve(wire, tokio_util::bytes::BytesMut::new(), machine.clone());
    *one.slot.lock().await = Some(link.clone());
    let (mut run, processes) = two_processes(&one, None).await;
    // As after a machine's memory was put back: the line is the same, the controller is another.
    link.say_raw(&greeting());
    gone(processes).await;
    let lost = run.control.wait().await;
    assert!(matches!(lost, Err(ProviderError::Enter { .. })), "{lost:?}");
}

#[tokio::test]
async fn a_greeting_that_comes_before_its_speaker_is_answered() {
    let machine = FakeMachine::new();
    machine.state().helper = EARLY;
    assert_eq!(exec(&inside(&machine), shell("echo served"), b"").await.text(), "served");
}

/// Whatever it does instead of answering.
#[tokio::test]
async fn a_link_that_does_not_answer_is_made_anew() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    exec(&one, shell("true"), b"").await;
    let helper = rustix::process::Pid::from_raw(machine.helper().cast_signed()).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::STOP).unwrap();
    // Thirty seconds and more, while nothing else is to happen.
    tokio::time::pause();
    let refused = async || match one.exec(shell("true")).await.err() {
        Some(ProviderError::Enter { source, .. }) => source.to_string(),
        other => format!("{other:?}"),
    };
    machine.state().paused = true;
    assert_eq!(refused().await, "the machine is paused");
    assert!(one.is_linked().await);
    machine.state().paused = false;
    assert_eq!(refused().await, "timed out");
    tokio::time::resume();
    assert_eq!(exec(&one, shell("echo again"), b"").await.text(), "again");
}

#[tokio::test]
async fn a_helper_of_another_version_makes_room() {
    let machine = FakeMachine::new();
    let mut wire = machine.connect().await.unwrap();
    machine.begin_helper(&json!({"arg": ["", "", "", "00ff", "", "mark"]}));
    assert!(greet(&mut wire, &greeting()).await.is_err());
    assert_eq!(exec(&inside(&machine), shell("echo new"), b"").await.text(), "new");
}

#[tokio::test]
async fn any_call_may_fail_and_the_next_command_works() {
    let whole = FakeMachine::new();
    exec(&inside(&whole), shell("true"), b"").await;
    let calls = whole.state().calls;
    assert!(calls >= 4, "{calls}");
    for nth in 1..=calls {
        let machine = FakeMachine::new();
        let one = inside(&machine);
        machine.state().fails_at = Some(nth);
        // The last ones come beside the greeting, and may come too late to matter.
        let first = one.exec(shell("true")).await;
        assert!(nth > 4 || matches!(first, Err(ProviderError::Libvirt { .. })), "call {nth}");
        drop(first);
        assert_eq!(exec(&one, shell("echo well"), b"").await.text(), "well", "after call {nth}");
    }
}

#[tokio::test]
async fn a_machine_that_takes_no_helper_says_why() {
    let machine = FakeMachine::new();
    let words = "dGhlcmUgaXMgbm8gcGVybAo=";
    machine.state().starter = Some(json!({"exited": true, "exitcode": 1, "err-data": words}));
    let refused = inside(&machine).exec(shell("true")).await.err().unwrap();
    let expected = "`the start of the machine's helper` failed (exit status 1): there is no perl";
    assert_eq!(refused.to_string(), expected);
}

#[tokio::test]
async fn a_machine_that_does_not_run_is_told() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    exec(&one, shell("true"), b"").await;
    machine.kill_helper();
    machine.state().off = true;
    let refused = one.exec(shell("true")).await.err();
    assert!(matches!(refused, Some(ProviderError::NotRunning { .. })), "{refused:?}");
    let refused = inside(&machine).exec(shell("true")).await.err();
    assert!(matches!(refused, Some(ProviderError::NotRunning { .. })), "{refused:?}");
}
