//! Commands, terminals and files in a real machine.

use std::time::{Duration, Instant};

use encanto::provider::{ExecEnd, ExecRequest, FileKind, InstanceName, Provider, ProviderError, WriteOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{ENVIRONMENT, exec, run, shell};

pub(super) async fn commands_run_as_asked(provider: &dyn Provider, one: &InstanceName) {
    let ended = exec(provider, one, shell("echo out; echo err >&2; exit 7"), b"").await;
    assert_eq!((ended.end, &ended.stdout[..], &ended.stderr[..]), (ExecEnd::Exited(7), &b"out\n"[..], &b"err\n"[..]));
    let binary: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let cat = ExecRequest { argv: vec!["cat".into()], ..ExecRequest::default() };
    assert_eq!(exec(provider, one, cat, &binary).await.stdout, binary);
    assert_eq!(run(provider, one, "seq 1 20000 | tail -n 5000").await.lines().count(), 5000);
    let request = ExecRequest {
        env: [("GREETING".to_owned(), "a b'c".to_owned())].into(),
        cwd: Some("/var/log".into()),
        user: Some("www-data".into()),
        ..shell("echo \"$GREETING|$PWD|$(id -un)|$(id -Gn)|$HOME\"; env | cut -d= -f1 | sort | tr '\\n' ' '")
    };
    let text = exec(provider, one, request, b"").await.text();
    assert_eq!(text, "a b'c|/var/log|www-data|www-data|/var/www\nGREETING HOME LANG PATH PWD USER");
    let missing = ExecRequest { argv: vec!["no-such-command".into()], ..ExecRequest::default() };
    let ended = exec(provider, one, missing, b"").await;
    assert_eq!(ended.end, ExecEnd::Exited(127));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("no-such-command"));
    let stranger = ExecRequest { user: Some("stranger".into()), ..shell("true") };
    let refused = provider.exec(one, stranger).await.err();
    assert!(matches!(refused, Some(ProviderError::NoUser { .. })), "{refused:?}");
    assert_eq!(exec(provider, one, shell("kill -TERM $$"), b"").await.end, ExecEnd::Exited(143));
    // The command is in the machine's own groups, its watcher is not.
    let groups = run(provider, one, "cat /proc/self/cgroup").await;
    assert!(groups.lines().all(|line| line.ends_with(":/") || line.ends_with("/encanto")), "{groups}");
    assert_eq!(run(provider, one, "id -u; hostname").await, format!("0\n{one}"));
}

pub(super) async fn many_commands_run_at_once(provider: &dyn Provider, one: &InstanceName) {
    let scripts: Vec<String> = (0..60).map(|number| format!("echo {number}; exit {number}")).collect();
    let runs = scripts.iter().map(|script| exec(provider, one, shell(script), b""));
    for (number, ended) in (0..).zip(futures_util::future::join_all(runs).await) {
        assert_eq!((ended.end, ended.text()), (ExecEnd::Exited(number), number.to_string()));
    }
}

pub(super) async fn terminals_work(provider: &dyn Provider, one: &InstanceName) {
    let request =
        ExecRequest { terminal: Some((97, 31)), ..shell("tty; stty size; read line; echo got $line; stty size") };
    let mut run = provider.exec(one, request).await.unwrap();
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
}

pub(super) async fn count(provider: &dyn Provider, one: &InstanceName, process: &str) -> String {
    run(provider, one, &format!("pgrep -fxc '{process}' || true")).await
}

/// Waits until no such process is left in the machine.
pub(super) async fn gone(provider: &dyn Provider, one: &InstanceName, process: &str) {
    let begun = Instant::now();
    while count(provider, one, process).await != "0" {
        assert!(begun.elapsed() < Duration::from_secs(10), "{process} still runs");
    }
}

pub(super) async fn groups_are_killed(provider: &dyn Provider, one: &InstanceName) {
    let limited = ExecRequest { timeout: Some(Duration::from_millis(300)), ..shell("sleep 4321 & sleep 4321") };
    let begun = Instant::now();
    assert_eq!(exec(provider, one, limited, b"").await.end, ExecEnd::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(2));
    gone(provider, one, "sleep 4321").await;
    let mut killed = provider.exec(one, shell("sleep 4322 & sleep 4322")).await.unwrap();
    killed.control.kill();
    assert_eq!(killed.control.wait().await.unwrap(), ExecEnd::Exited(137));
    let dropped = provider.exec(one, shell("echo; sleep 4323 & sleep 4323")).await.unwrap();
    drop(dropped);
    gone(provider, one, "sleep 4322").await;
    gone(provider, one, "sleep 4323").await;
}

pub(super) async fn files_stay_inside(provider: &dyn Provider, one: &InstanceName) {
    let outside = std::env::temp_dir().join(format!("{ENVIRONMENT}-outside"));
    std::fs::write(&outside, "host").unwrap();
    let link = format!("ln -s {} /srv/link; ln -s / /srv/top; mkfifo /srv/fifo", outside.display());
    run(provider, one, &link).await;
    let refused = provider.read_file(one, "/srv/link", 100).await;
    assert!(matches!(refused, Err(ProviderError::NoFile { .. })), "{refused:?}");
    let stat = provider.stat_file(one, "/srv/link").await.unwrap().unwrap();
    assert_eq!(stat.kind, FileKind::Symlink);
    let through = format!("/srv/top/../..{}", outside.display());
    provider.write_file(one, &through, b"machine", &WriteOptions::default()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "host");
    assert_eq!(run(provider, one, &format!("cat {}", outside.display())).await, "machine");
    assert!(provider.read_file(one, "/srv/fifo", 100).await.is_err());
    // Also where the machine has mounts of its own.
    provider.write_file(one, "/run/here", b"x", &WriteOptions::default()).await.unwrap();
    assert_eq!(run(provider, one, "stat -c %u:%g:%a /run/here").await, "0:0:644");
    std::fs::remove_file(&outside).unwrap();
}
