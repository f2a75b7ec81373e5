//! Terminals, and the console.

use std::time::Duration;

use encanto::provider::{ExecEnd, ExecRequest, Execution};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::bed::Environment;
use crate::tools::{command, exec, shell};

/// Reads until it shows what is looked for, and returns all that was seen.
async fn seen(run: &mut Execution, wanted: &str, patience: Duration) -> String {
    let mut text = String::new();
    let mut chunk = [0; 1024];
    let looked = async {
        while !text.contains(wanted) {
            let count = run.stdout.read(&mut chunk).await.unwrap();
            assert!(count > 0, "it ended before {wanted:?}: {text:?}");
            text.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    };
    let came = tokio::time::timeout(patience, looked).await;
    assert!(came.is_ok(), "no {wanted:?} in {text:?}");
    text
}

pub async fn terminals_have_a_size(on: &Environment) {
    let one = on.machine().await;
    let script = "tty; stty size; echo $TERM.; read line; echo got $line; stty size; exit 5";
    let request = ExecRequest { terminal: Some((97, 31)), ..shell(script) };
    let mut run = on.provider.exec(&one, request).await.unwrap();
    let first = seen(&mut run, "xterm-256color.", on.bed.moment()).await;
    assert!(first.starts_with("/dev/pts/") && first.contains("31 97"), "{first:?}");
    run.control.resize(80, 24).await.unwrap();
    run.stdin.write_all(b"hello\n").await.unwrap();
    let mut rest = String::new();
    run.stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(5));
    assert!(rest.contains("got hello") && rest.contains("24 80"), "{rest:?}");
}

pub async fn terminals_interrupt(on: &Environment) {
    let one = on.machine().await;
    let request =
        ExecRequest { terminal: Some((80, 24)), ..shell("trap 'echo caught; exit 9' INT; echo ready; read line") };
    let mut run = on.provider.exec(&one, request).await.unwrap();
    seen(&mut run, "ready", on.bed.moment()).await;
    run.stdin.write_all(b"\x03").await.unwrap();
    seen(&mut run, "caught", on.bed.moment()).await;
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(9));
    // Whoever hangs up ends it.
    let request = ExecRequest { terminal: Some((80, 24)), ..command(&["sleep", "4327"]) };
    let hung_up = on.provider.exec(&one, request).await.unwrap();
    drop(hung_up);
    crate::tools::counted(&*on.provider, &one, "sleep 4327", "0").await;
}

/// A shell that does arithmetic: what was typed does not have the answer in it.
pub async fn the_console_lets_root_in(on: &Environment) {
    let one = on.machine().await;
    // The login of one that has just started may not have begun.
    on.provider.stop(&one).await.unwrap();
    on.provider.start(&one).await.unwrap();
    for _ in 0..2 {
        let mut console = on.provider.console(&one, (80, 24)).await.unwrap();
        seen(&mut console, "# ", on.bed.while_it_boots()).await;
        console.stdin.write_all(b"echo $(id -un) on $(hostname), $((6 * 7)) times\n").await.unwrap();
        seen(&mut console, &format!("root on {one}, 42 times"), on.bed.moment()).await;
        // Who only leaves must find it again.
        drop(console);
    }
    assert_eq!(exec(&*on.provider, &one, command(&["true"]), b"").await.end, ExecEnd::Exited(0));
}

/// systemd by itself gives a service up that ends five times in ten seconds.
pub async fn a_login_that_is_left_comes_back_however_often(on: &Environment) {
    let one = on.machine().await;
    let leave = "for time in 1 2 3 4 5 6 7 8; do systemctl kill -s KILL encanto-console; sleep 0.3; done; sleep 1;
        systemctl show -p SubState encanto-console";
    assert_eq!(exec(&*on.provider, &one, shell(leave), b"").await.text(), "SubState=running");
}
