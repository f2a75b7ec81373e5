//! What rules are written with.

use std::process::Command;
use std::time::{Duration, Instant};

use encanto::provider::{ExecEnd, ExecRequest, Execution, InstanceName, Provider, WriteOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub fn instance(text: &str) -> InstanceName {
    InstanceName::new(text).unwrap()
}

pub fn command(words: &[&str]) -> ExecRequest {
    ExecRequest { argv: words.iter().map(|&word| word.to_owned()).collect(), ..ExecRequest::default() }
}

pub fn shell(script: &str) -> ExecRequest {
    command(&["sh", "-c", script])
}

/// Runs a script on the host, which must succeed.
#[track_caller]
pub fn shell_on_host(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success(), "{script}");
}

pub struct Ended {
    pub end: ExecEnd,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Ended {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

pub async fn exec(provider: &dyn Provider, name: &InstanceName, request: ExecRequest, input: &[u8]) -> Ended {
    let what = format!("{request:?}");
    let run = provider.exec(name, request).await;
    finish(run.unwrap_or_else(|error| panic!("{what}: {error}")), input).await
}

/// Gives a command its input, and takes all that it says.
pub async fn finish(run: Execution, input: &[u8]) -> Ended {
    try_to_finish(run, input).await.unwrap()
}

/// The same, where the machine may go away meanwhile.
pub async fn try_to_finish(
    mut run: Execution,
    input: &[u8],
) -> Result<Ended, Box<dyn std::error::Error + Send + Sync>> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let feed = async {
        // Whoever does not read its input closes it, which is its right.
        let _ = run.stdin.write_all(input).await;
        let _ = run.stdin.shutdown().await;
        drop(run.stdin);
    };
    let (_, out, err, end) = tokio::join!(
        feed,
        run.stdout.read_to_end(&mut stdout),
        run.stderr.read_to_end(&mut stderr),
        run.control.wait()
    );
    out?;
    err?;
    Ok(Ended { end: end?, stdout, stderr })
}

/// Runs a script as root that must succeed.
pub async fn run(provider: &dyn Provider, name: &InstanceName, script: &str) -> String {
    let ended = exec(provider, name, shell(script), b"").await;
    assert_eq!(ended.end, ExecEnd::Exited(0), "{script}: {}", ended.errors());
    ended.text()
}

pub async fn write(provider: &dyn Provider, name: &InstanceName, path: &str, text: &str) {
    provider.write_file(name, path, text.as_bytes(), &WriteOptions::default()).await.unwrap();
}

pub async fn read(provider: &dyn Provider, name: &InstanceName, path: &str) -> String {
    String::from_utf8(provider.read_file(name, path, 100_000).await.unwrap()).unwrap()
}

/// How many processes of the machine have exactly this command line.
pub async fn count(provider: &dyn Provider, name: &InstanceName, process: &str) -> String {
    run(provider, name, &format!("pgrep -fxc '{process}' || true")).await
}

/// Waits until so many processes of the machine have exactly this command line.
pub async fn counted(provider: &dyn Provider, name: &InstanceName, process: &str, wanted: &str) {
    let begun = Instant::now();
    loop {
        let there = count(provider, name, process).await;
        if there == wanted {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{there} of {process}, not {wanted}");
    }
}
