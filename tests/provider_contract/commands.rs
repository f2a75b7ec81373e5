//! Commands in a machine: how they begin and how they end.

use std::time::{Duration, Instant};

use encanto::provider::{ExecEnd, ExecRequest, ProviderError};
use futures_util::future::join_all;

use crate::bed::Environment;
use crate::tools::{command, exec, run, shell};

pub async fn commands_end_as_they_end(on: &Environment) {
    let one = on.machine().await;
    let provider = &*on.provider;
    let ended = exec(provider, &one, shell("echo out; echo err >&2; exit 7"), b"").await;
    assert_eq!((ended.end, &ended.stdout[..], &ended.stderr[..]), (ExecEnd::Exited(7), &b"out\n"[..], &b"err\n"[..]));
    assert_eq!(exec(provider, &one, command(&["true"]), b"").await.end, ExecEnd::Exited(0));
    assert_eq!(exec(provider, &one, shell("exit 255"), b"").await.end, ExecEnd::Exited(255));
    assert_eq!(exec(provider, &one, shell("kill -TERM $$"), b"").await.end, ExecEnd::Exited(143));
    assert_eq!(exec(provider, &one, shell("kill -KILL $$"), b"").await.end, ExecEnd::Exited(137));
    let missing = exec(provider, &one, command(&["no-such-command"]), b"").await;
    assert_eq!(missing.end, ExecEnd::Exited(127));
    assert!(missing.errors().contains("no-such-command"), "{}", missing.errors());
    let folder = exec(provider, &one, command(&["/etc"]), b"").await;
    assert_eq!(folder.end, ExecEnd::Exited(126), "{}", folder.errors());
    // A pipe that ends early ends its writer, and quietly.
    assert_eq!(run(provider, &one, "seq 1 200000 | head -n 1").await, "1");
}

pub async fn arguments_arrive_as_they_are(on: &Environment) {
    let one = on.machine().await;
    let odd = ["", " ", "a b", "'", "\"", "$HOME", "`id`", "*", "-n", "\\n", "line\nbreak", "ümläut ☃", "\t", "a'b\"c"];
    let words: Vec<&str> = ["printf", "%s\\0"].into_iter().chain(odd).collect();
    let ended = exec(&*on.provider, &one, command(&words), b"").await;
    let expected: String = odd.iter().map(|word| format!("{word}\0")).collect();
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), expected);
    let long = "x".repeat(100_000);
    let ended = exec(&*on.provider, &one, command(&["printf", "%s", &long]), b"").await;
    assert_eq!(ended.text().len(), long.len());
}

pub async fn the_environment_is_small_and_as_asked(on: &Environment) {
    let one = on.machine().await;
    let provider = &*on.provider;
    let odd = "a b'c\"d\n$HOME=1 ☃";
    let request = ExecRequest {
        env: [("GREETING".to_owned(), odd.to_owned())].into(),
        cwd: Some("/var/log".into()),
        user: Some("www-data".into()),
        ..shell(
            "printf '%s|%s|%s|%s' \"$GREETING\" \"$PWD\" \"$(id -un)\" \"$HOME\"; env -0 | cut -zd= -f1 | sort -z | tr '\\0' ' ' >&2",
        )
    };
    let ended = exec(provider, &one, request, b"").await;
    assert_eq!(ended.text(), format!("{odd}|/var/log|www-data|/var/www"));
    assert_eq!(ended.errors(), "GREETING HOME LANG PATH PWD USER");
    // What is asked for goes before what is usual.
    let request =
        ExecRequest { env: [("LANG".to_owned(), "C".to_owned())].into(), ..shell("echo $LANG $HOME $USER; pwd") };
    assert_eq!(exec(provider, &one, request, b"").await.text(), "C /root root\n/root");
    let nowhere = ExecRequest { cwd: Some("/no/such/folder".into()), ..command(&["true"]) };
    let refused = provider.exec(&one, nowhere).await.err();
    assert!(refused.as_ref().is_some_and(|error| told(error).contains("/no/such/folder")), "{refused:?}");
}

fn told(error: &ProviderError) -> String {
    format!("{error:?}")
}

pub async fn users_have_their_groups(on: &Environment) {
    let one = on.machine().await;
    run(&*on.provider, &one, "id grouped >/dev/null 2>&1 || useradd -m -G audio,video grouped").await;
    let request =
        ExecRequest { user: Some("grouped".into()), ..shell("id -un; id -gn; id -Gn; pwd; umask; : > /srv/x") };
    let ended = exec(&*on.provider, &one, request, b"").await;
    assert_eq!(ended.text(), "grouped\ngrouped\ngrouped audio video\n/home/grouped\n0022");
    assert!(ended.errors().contains("ermission denied"), "{}", ended.errors());
}

pub async fn a_stranger_is_refused(on: &Environment) {
    let one = on.machine().await;
    let stranger = ExecRequest { user: Some("stranger".into()), ..command(&["true"]) };
    let refused = on.provider.exec(&one, stranger).await.err();
    assert!(matches!(&refused, Some(ProviderError::NoUser { user, .. }) if user == "stranger"), "{refused:?}");
}

pub async fn many_run_at_once(on: &Environment) {
    let one = on.machine().await;
    let scripts: Vec<String> =
        (0..on.bed.many_commands()).map(|number| format!("echo {number}; exit {number}")).collect();
    let runs = scripts.iter().map(|script| exec(&*on.provider, &one, shell(script), b""));
    for (number, ended) in (0..).zip(join_all(runs).await) {
        assert_eq!((ended.end, ended.text()), (ExecEnd::Exited(number), number.to_string()));
    }
}

/// The command counts as the machine's, its watcher does not.
pub async fn commands_are_in_the_machines_groups(on: &Environment) {
    let one = on.machine().await;
    let groups = run(&*on.provider, &one, "cat /proc/self/cgroup").await;
    assert!(groups.lines().all(|line| line.ends_with(":/") || line.ends_with("/encanto")), "{groups}");
}

/// On a simulated machine too, a command that says that it sleeps does.
fn sleeping(on: &Environment) -> ExecRequest {
    if !on.bed.is_real() {
        on.simulated().answer_exec(|_, request| encanto::provider::simulated::ExecScript {
            hangs: request.argv[0] == "sleep",
            ..Default::default()
        });
    }
    command(&["sleep", "4320"])
}

pub async fn time_is_limited(on: &Environment) {
    let one = on.machine().await;
    let limited = ExecRequest { timeout: Some(Duration::from_millis(300)), ..sleeping(on) };
    let begun = Instant::now();
    assert_eq!(exec(&*on.provider, &one, limited, b"").await.end, ExecEnd::TimedOut);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < on.bed.moment(), "{:?}", begun.elapsed());
    let in_time = ExecRequest { timeout: Some(Duration::from_secs(60)), ..command(&["true"]) };
    assert_eq!(exec(&*on.provider, &one, in_time, b"").await.end, ExecEnd::Exited(0));
}

pub async fn a_kill_is_a_kill(on: &Environment) {
    let one = on.machine().await;
    let mut killed = on.provider.exec(&one, sleeping(on)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), killed.control.wait()).await;
    assert!(early.is_err(), "{early:?}");
    killed.control.kill();
    assert_eq!(killed.control.wait().await.unwrap(), ExecEnd::Exited(137));
}

pub async fn a_machine_that_does_not_run_takes_no_commands(on: &Environment) {
    let name = on.fresh_machine().await;
    on.provider.stop(&name).await.unwrap();
    let refusals = [
        on.provider.exec(&name, command(&["true"])).await.err(),
        on.provider.read_file(&name, "/etc/hostname", 100).await.err(),
        on.provider.write_file(&name, "/srv/x", b"", &Default::default()).await.err(),
        on.provider.stat_file(&name, "/etc/hostname").await.err(),
        on.provider.remove_file(&name, "/srv/x").await.err(),
    ];
    for (at, refused) in refusals.into_iter().enumerate() {
        assert!(matches!(refused, Some(ProviderError::NotRunning { .. })), "{at}: {refused:?}");
    }
    on.provider.destroy(&name).await.unwrap();
}
