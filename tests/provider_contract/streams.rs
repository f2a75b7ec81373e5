//! What goes in and out of a command, however much, and what it leaves behind.

use std::time::{Duration, Instant};

use encanto::provider::{ExecEnd, ExecRequest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use crate::bed::Environment;
use crate::tools::{command, counted, exec, run, shell};

pub async fn input_is_given_to_its_end(on: &Environment) {
    let one = on.machine().await;
    let binary: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    assert!(exec(&*on.provider, &one, command(&["cat"]), &binary).await.stdout == binary, "1 MB came back changed");
    assert_eq!(exec(&*on.provider, &one, command(&["wc", "-c"]), b"").await.text(), "0");
    assert_eq!(exec(&*on.provider, &one, command(&["cat"]), b"no end of line").await.stdout, b"no end of line");
}

pub async fn input_that_nobody_reads_is_no_trouble(on: &Environment) {
    let one = on.machine().await;
    let much = vec![b'x'; 4 << 20];
    let ended = exec(&*on.provider, &one, shell("head -c 3; exit 4"), &much).await;
    assert_eq!((ended.end, ended.text()), (ExecEnd::Exited(4), "xxx".to_owned()));
}

/// What a command is fed, and so what it must give back.
fn pattern(at: usize) -> u8 {
    u8::try_from((at + at / 251) % 251).unwrap()
}

/// Both ways at once, compared as it comes.
pub async fn much_goes_through(on: &Environment) {
    let one = on.machine().await;
    let much = on.bed.much();
    let mut run = on.provider.exec(&one, command(&["cat"])).await.unwrap();
    let feed = async {
        let mut fed = 0;
        while fed < much {
            let chunk: Vec<u8> = (fed..much.min(fed + (1 << 18))).map(pattern).collect();
            run.stdin.write_all(&chunk).await.unwrap();
            fed += chunk.len();
        }
        run.stdin.shutdown().await.unwrap();
        drop(run.stdin);
    };
    let (_, came, rest, end) = tokio::join!(feed, same(&mut run.stdout), rest_of(&mut run.stderr), run.control.wait());
    assert_eq!((came, rest, end.unwrap()), (much, 0, ExecEnd::Exited(0)));
}

async fn same(stream: &mut (dyn AsyncRead + Send + Unpin)) -> usize {
    let (mut came, mut chunk) = (0, vec![0; 1 << 16]);
    loop {
        let count = stream.read(&mut chunk).await.unwrap();
        if count == 0 {
            return came;
        }
        let wrong = (0..count).find(|&at| chunk[at] != pattern(came + at));
        assert_eq!(wrong.map(|at| came + at), None, "first byte that is not what was fed");
        came += count;
    }
}

async fn rest_of(stream: &mut (dyn AsyncRead + Send + Unpin)) -> usize {
    let (mut came, mut chunk) = (0, vec![0; 1 << 16]);
    loop {
        match stream.read(&mut chunk).await.unwrap() {
            0 => return came,
            count => came += count,
        }
    }
}

/// Who writes much to one stream is not held up by the other, and one is not taken for the other.
pub async fn much_comes_out_of_both(on: &Environment) {
    let one = on.machine().await;
    let half = on.bed.much() / 2;
    let script = format!("head -c {half} /dev/zero; head -c {half} /dev/zero >&2; head -c {half} /dev/zero; exit 3");
    let mut run = on.provider.exec(&one, shell(&script)).await.unwrap();
    run.stdin.shutdown().await.unwrap();
    drop(run.stdin);
    let (out, err, end) = tokio::join!(rest_of(&mut run.stdout), rest_of(&mut run.stderr), run.control.wait());
    assert_eq!((out, err, end.unwrap()), (2 * half, half, ExecEnd::Exited(3)));
}

pub async fn nothing_is_held_up_by_what_is_left_behind(on: &Environment) {
    let one = on.machine().await;
    let begun = Instant::now();
    let mut left = on.provider.exec(&one, shell("setsid sleep 4325 & echo begun")).await.unwrap();
    let mut said = [0; 6];
    left.stdout.read_exact(&mut said).await.unwrap();
    assert_eq!((&said, left.control.wait().await.unwrap()), (b"begun\n", ExecEnd::Exited(0)));
    assert!(begun.elapsed() < on.bed.moment(), "{:?}", begun.elapsed());
    drop(left);
    // What has left its group lives on, as a service does that a hook starts.
    counted(&*on.provider, &one, "sleep 4325", "1").await;
    run(&*on.provider, &one, "pkill -fx 'sleep 4325'").await;
}

pub async fn whole_groups_are_killed(on: &Environment) {
    let one = on.machine().await;
    let provider = &*on.provider;
    let limited = ExecRequest { timeout: Some(Duration::from_millis(300)), ..shell("sleep 4321 & sleep 4321") };
    let begun = Instant::now();
    assert_eq!(exec(provider, &one, limited, b"").await.end, ExecEnd::TimedOut);
    assert!(begun.elapsed() < on.bed.moment(), "{:?}", begun.elapsed());
    counted(provider, &one, "sleep 4321", "0").await;
    let mut killed = provider.exec(&one, shell("sleep 4322 & sleep 4322")).await.unwrap();
    counted(provider, &one, "sleep 4322", "2").await;
    killed.control.kill();
    assert_eq!(killed.control.wait().await.unwrap(), ExecEnd::Exited(137));
    let dropped = provider.exec(&one, shell("echo; sleep 4323 & sleep 4323")).await.unwrap();
    counted(provider, &one, "sleep 4323", "2").await;
    drop(dropped);
    counted(provider, &one, "sleep 4322", "0").await;
    counted(provider, &one, "sleep 4323", "0").await;
    // Also one that will not hear of it.
    let deaf =
        ExecRequest { timeout: Some(Duration::from_millis(300)), ..shell("trap '' TERM HUP INT; sleep 4326 & wait") };
    assert_eq!(exec(provider, &one, deaf, b"").await.end, ExecEnd::TimedOut);
    counted(provider, &one, "sleep 4326", "0").await;
}

/// There is no moment at which a command cannot be killed, also not before it is one.
pub async fn whoever_is_killed_at_once_is_ended(on: &Environment) {
    let one = on.machine().await;
    for _ in 0..on.bed.many_commands() {
        let mut killed = on.provider.exec(&one, command(&["sleep", "4329"])).await.unwrap();
        killed.control.kill();
        let end = tokio::time::timeout(on.bed.moment(), killed.control.wait()).await;
        assert_eq!(end.unwrap().unwrap(), ExecEnd::Exited(137));
        drop(on.provider.exec(&one, command(&["sleep", "4329"])).await.unwrap());
    }
    counted(&*on.provider, &one, "sleep 4329", "0").await;
}
