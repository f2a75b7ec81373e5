//! The only place where a process is spawned.
//!
//! Everything is an argument vector, never a shell line. A tool that fails is told of in its own words.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::ProviderError;

/// No tool that answers at all takes this long; one that hangs must not hang its worker.
const LIMIT: Duration = Duration::from_secs(120);

/// How much of a failed tool's output is worth showing.
const SHOWN: usize = 2000;

/// Runs a tool to its end and returns its standard output.
pub async fn run(argv: &[&str], stdin: &[u8]) -> Result<Vec<u8>, ProviderError> {
    let mut child = command(argv)
        .stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ProviderError::Spawn { command: argv.join(" "), source })?;
    let input = child.stdin.take();
    let feed = async {
        if let Some(mut input) = input {
            // A tool that ends early closes its end: its exit status tells more than EPIPE does.
            let _ = input.write_all(stdin).await;
        }
    };
    let ended = tokio::time::timeout(LIMIT, async { tokio::join!(feed, child.wait_with_output()).1 }).await;
    match ended {
        Ok(Ok(output)) => checked(argv, output),
        Ok(Err(source)) => Err(ProviderError::Spawn { command: argv.join(" "), source }),
        Err(_) => Err(ProviderError::Command {
            command: argv.join(" "),
            status: "no end".into(),
            output: format!("given up after {} s", LIMIT.as_secs()),
        }),
    }
}

/// Runs a long tool without a time limit and hands on each line it says (on either stream) as it comes.
pub async fn run_telling(argv: &[&str], stdin: &[u8], mut tell: impl FnMut(&str)) -> Result<(), ProviderError> {
    let spawn_failed = |source| ProviderError::Spawn { command: argv.join(" "), source };
    let mut child = command(argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(spawn_failed)?;
    if let Some(mut input) = child.stdin.take() {
        let _ = input.write_all(stdin).await;
    }
    let mut said = String::new();
    if let Some(stream) = child.stderr.take() {
        let mut lines = BufReader::new(stream).lines();
        while let Some(line) = lines.next_line().await.map_err(spawn_failed)? {
            tell(&line);
            said.push_str(&line);
            said.push('\n');
        }
    }
    let status = child.wait().await.map_err(spawn_failed)?;
    checked(argv, Output { status, stdout: Vec::new(), stderr: said.into_bytes() }).map(drop)
}

/// [`run`] for callers without a runtime (doctor).
pub fn run_blocking(argv: &[&str]) -> Result<Vec<u8>, ProviderError> {
    let [program, arguments @ ..] = argv else { return Ok(Vec::new()) };
    #[allow(clippy::disallowed_methods, reason = "this file is where processes are spawned")]
    let output = std::process::Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ProviderError::Spawn { command: argv.join(" "), source })?;
    checked(argv, output)
}

/// Whom a process belongs to: user and group.
pub type Account = (u32, u32);

/// Starts a process to speak with over its standard streams; dropping it kills it.
pub fn spawn_speaking(argv: &[&str], account: Option<Account>) -> Result<Child, ProviderError> {
    let mut command = command(argv);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    command.spawn().map_err(|source| ProviderError::Spawn { command: argv.join(" "), source })
}

/// Starts the hidden helper with `control` as its standard input.
///
/// It gets a process group of its own so that a Ctrl-C on the controller's terminal does not reach it.
pub fn spawn_helper(program: &Path, argument: &str, control: OwnedFd) -> Result<Child, ProviderError> {
    #[allow(clippy::disallowed_methods, reason = "this file is where processes are spawned")]
    Command::new(program)
        .arg(argument)
        .env_clear()
        .stdin(Stdio::from(control))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| ProviderError::Spawn { command: format!("{} {argument}", program.display()), source })
}

/// Set for a process that was started by [`spawn_daemon`]: whoever started it reads what it says until it is ready.
pub const DAEMON: &str = "ENCANTO_DAEMON";

/// Starts a process in a session of its own, which outlives this one. Returns the first line that it says, or, if it
/// ends before that, all it said.
pub fn spawn_daemon(argv: &[&str]) -> Result<String, ProviderError> {
    use std::io::Read as _;
    use std::os::unix::process::CommandExt as _;
    let failed = |source| ProviderError::Spawn { command: argv.join(" "), source };
    let [program, arguments @ ..] = argv else { return Ok(String::new()) };
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
    #[allow(clippy::disallowed_methods, reason = "this file is where processes are spawned")]
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .env(DAEMON, "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    // SAFETY: setsid is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(std::io::Error::from));
    }
    command.spawn().map_err(failed)?;
    drop(command); // with it goes this side's copy of the writer
    let mut said = Vec::new();
    let mut byte = [0];
    while reader.read(&mut byte).map_err(failed)? == 1 {
        said.push(byte[0]);
        if byte[0] == b'\n' && said.starts_with(b"listening on") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn command(argv: &[&str]) -> Command {
    let (program, arguments) = argv.split_first().map_or(("", &[][..]), |(program, rest)| (*program, rest));
    #[allow(clippy::disallowed_methods, reason = "this file is where processes are spawned")]
    let mut command = Command::new(program);
    // Tools are found although a service manager or a plain `su` left the sbin folders out.
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(arguments)
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"))
        .env("LC_ALL", "C.UTF-8")
        .process_group(0);
    command
}

fn checked(argv: &[&str], output: Output) -> Result<Vec<u8>, ProviderError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let mut words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if words.is_empty() {
        words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    }
    // The end of a tool's output names the cause.
    let begin = words.char_indices().map(|(at, _)| at).find(|at| words.len() - at <= SHOWN).unwrap_or(0);
    Err(ProviderError::Command {
        command: argv.join(" "),
        status: output.status.to_string(),
        output: words[begin..].to_owned(),
    })
}

/// Writes a file so that a reader (or a crash) sees the old or the new content, never a part.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), ProviderError> {
    let io = |action, source| ProviderError::Io { action, path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = std::fs::File::create(&fresh).map_err(|e| io("create", e))?;
    file.write_all(content).and_then(|()| file.sync_data()).map_err(|e| io("write", e))?;
    std::fs::rename(&fresh, path).map_err(|e| io("replace", e))
}
