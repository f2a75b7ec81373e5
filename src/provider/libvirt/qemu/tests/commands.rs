//! Commands: what `Provider::exec` promises.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{FakeMachine, exec, inside, request, shell};
use crate::provider::{ExecEnd, ExecRequest, ProviderError};

#[tokio::test]
async fn commands_run_as_asked() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let ended = exec(&one, shell("echo out; echo err >&2; exit 7"), b"").await;
    assert_eq!((ended.end, &ended.stdout[..], &ended.stderr[..]), (ExecEnd::Exited(7), &b"out\n"[..], &b"err\n"[..]));
    let asked = ExecRequest {
        env: [("GREETING".to_owned(), "a b'c\n".to_owned())].into(),
        cwd: Some("/var/log".into()),
        ..shell("echo \"$GREETING|$PWD\"; env | cut -d= -f1 | sort | tr '\\n' ' '; umask")
    };
    let text = exec(&one, asked, b"").await.text();
    assert!(text.starts_with("a b'c\n|/var/log\n"), "{text}");
    assert!(text.contains("GREETING HOME LANG PATH PWD USER 0022"), "{text}");
    assert_eq!(exec(&one, shell("kill -TERM $$"), b"").await.end, ExecEnd::Exited(143));
    let missing = exec(&one, request(&["no-such-command"]), b"").await;
    assert_eq!(missing.end, ExecEnd::Exited(127));
    assert_eq!(String::from_utf8_lossy(&missing.stderr), "no-such-command: No such file or directory\n");
    assert_eq!(exec(&one, request(&["/etc/passwd"]), b"").await.end, ExecEnd::Exited(126));
    // The port is not left open, and a broken pipe ends whoever writes to it.
    let state =
        "ls -l /proc/self/fd | grep -c socket; echo $((0x$(grep SigIgn /proc/self/status | cut -f 2) & 0x1000))";
    assert_eq!(exec(&one, shell(state), b"").await.text(), "0\n0");
}

#[tokio::test]
async fn what_cannot_begin_says_why() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let stranger = ExecRequest { user: Some("stranger".into()), ..shell("true") };
    let refused = one.exec(stranger).await.err();
    assert!(matches!(&refused, Some(ProviderError::NoUser { user, .. }) if user == "stranger"), "{refused:?}");
    let nowhere = ExecRequest { cwd: Some("/no/where".into()), ..shell("true") };
    let Some(ProviderError::Enter { source, .. }) = one.exec(nowhere).await.err() else { panic!("it ran") };
    assert_eq!(source.to_string(), "enter the folder /no/where: No such file or directory (os error 2)");
}

#[tokio::test]
async fn root_becomes_another_user() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let other = ExecRequest { user: Some("www-data".into()), ..shell("id -un; id -Gn; echo $HOME $USER; pwd") };
    assert_eq!(exec(&one, other, b"").await.text(), "www-data\nwww-data\n/var/www www-data\n/");
    let root = ExecRequest { user: None, ..shell("id -u; echo $HOME") };
    assert_eq!(exec(&one, root, b"").await.text(), "0\n/root");
}

#[tokio::test]
async fn input_is_streamed_to_its_end() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let binary: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    assert!(exec(&one, request(&["cat"]), &binary).await.stdout == binary);
    // A command that reads only a part of it holds nothing up.
    let ended = exec(&one, request(&["head", "-c", "5"]), &binary).await;
    assert_eq!((ended.end, ended.stdout), (ExecEnd::Exited(0), binary[..5].to_vec()));
    // Bytes go on as they come, not at their end.
    let mut run = one.exec(request(&["cat"])).await.unwrap();
    let mut answer = [0; 4];
    for word in [b"one\n", b"two\n"] {
        run.stdin.write_all(word).await.unwrap();
        run.stdout.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, word);
    }
    run.stdin.shutdown().await.unwrap();
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(0));
}

#[tokio::test]
async fn nobody_is_held_up_by_who_does_not_read() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let mut endless = one.exec(shell("yes | tee /dev/stderr")).await.unwrap();
    let mut unread = one.exec(request(&["sleep", "60"])).await.unwrap();
    let flood = vec![b'x'; 1 << 20];
    let stuck = tokio::time::timeout(Duration::from_millis(300), unread.stdin.write_all(&flood)).await;
    assert!(stuck.is_err(), "all of it was taken by nobody");
    assert_eq!(exec(&one, shell("seq 1 200000 | wc -l"), b"").await.text(), "200000");
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.helper())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = memory.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kilobytes < 32 << 10, "{memory}");
    // Whoever is heard again goes on.
    let (mut out, mut err) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let (out, err) = tokio::join!(endless.stdout.read_exact(&mut out), endless.stderr.read_exact(&mut err));
    out.and(err).unwrap();
}

#[tokio::test]
async fn a_hundred_megabytes_come_and_go() {
    const LENGTH: u64 = 100 << 20;
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let mut run = one.exec(request(&["cat"])).await.unwrap();
    let mut input = run.stdin;
    let feed = async {
        let mut source = tokio::io::repeat(b'm').take(LENGTH);
        tokio::io::copy(&mut source, &mut input).await.unwrap();
        drop(input);
    };
    let mut sink = tokio::io::sink();
    let ((), count) = tokio::join!(feed, tokio::io::copy(&mut run.stdout, &mut sink));
    assert_eq!(count.unwrap(), LENGTH);
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(0));
}

#[tokio::test]
async fn many_commands_run_at_once() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let runs = (0..60).map(|number| {
        let one = &one;
        async move {
            let ended = exec(one, shell(&format!("echo {number}; exit {number}")), b"").await;
            assert_eq!((ended.end, ended.text()), (ExecEnd::Exited(number), number.to_string()));
        }
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn a_process_left_behind_does_not_hold_up_the_end() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let mut run = one.exec(shell("sleep 5 & echo done")).await.unwrap();
    let begun = Instant::now();
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(0));
    assert!(begun.elapsed() < Duration::from_secs(3));
    let mut word = [0; 5];
    run.stdout.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"done\n");
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(0));
}

#[tokio::test]
async fn ctrl_c_reaches_what_runs_on_a_terminal() {
    let machine = FakeMachine::new();
    let script = "trap 'echo caught; exit 9' INT; echo ready; read line";
    let limit = Some(Duration::from_secs(10));
    let asked = ExecRequest { terminal: Some((80, 24)), timeout: limit, ..shell(script) };
    let mut run = inside(&machine).exec(asked).await.unwrap();
    run.stdout.read_exact(&mut [0; 5]).await.unwrap();
    run.stdin.write_all(b"\x03").await.unwrap();
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(9));
}

#[tokio::test]
async fn a_terminal_has_size_and_resize() {
    let machine = FakeMachine::new();
    let one = inside(&machine);
    let script = "tty; echo $TERM; stty size; read line; echo got $line; stty size";
    let mut run = one.exec(ExecRequest { terminal: Some((97, 31)), ..shell(script) }).await.unwrap();
    let mut seen = String::new();
    let mut chunk = [0; 256];
    while !seen.contains("31 97") {
        let count = run.stdout.read(&mut chunk).await.unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    run.control.resize(80, 24).await.unwrap();
    run.stdin.write_all(b"hello\n").await.unwrap();
    let mut rest = Vec::new();
    run.stdout.read_to_end(&mut rest).await.unwrap();
    seen.push_str(&String::from_utf8_lossy(&rest));
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(0));
    assert!(seen.starts_with("/dev/pts/") && seen.contains("got hello") && seen.contains("24 80"), "{seen}");
    assert!(seen.contains("xterm-256color"), "{seen}");
}
