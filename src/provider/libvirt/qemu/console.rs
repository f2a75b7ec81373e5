//! The serial console of a virtual machine, by libvirt: it works when nothing in the machine does.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{Notify, watch};

use super::inside::Inside;
use super::way::{LibvirtWay, Wire};
use crate::provider::{ExecControl, ExecEnd, ExecRequest, Execution, ProviderError};

/// Bytes of what was shown last that are shown again.
const SHOWN: u64 = 4096;

const PIECE: usize = 16 * 1024;

/// In a process of its own: a command leads a session, which would be given the console while a login is between two, and
/// would hang it up, login and all, when it ends.
const RESIZE: &str = "stty -F /dev/ttyS0 columns $1 rows $2; exit $?";

/// Lines of the console in an error.
const LINES: usize = 5;

/// Between two Enters that a login is asked with. One that comes before the login has begun is forgotten.
const NUDGE: Duration = Duration::from_secs(1);

/// Connects to the console: what it showed last, then what it shows. A login waits for an Enter, and is sent it until
/// there is something to be seen or somebody types.
pub async fn open(way: &LibvirtWay, inside: Inside, terminal: (u16, u16)) -> Result<Execution, ProviderError> {
    let shown = match way.console_log().await? {
        Some(log) => tail(&log, SHOWN),
        None => Vec::new(),
    };
    let wire = way.connect_console().await?;
    let (ended, end) = watch::channel(false);
    let (typing, typed) = tokio::io::duplex(PIECE);
    let (ours, theirs) = tokio::io::duplex(PIECE);
    let serving = async move {
        serve(shown, wire, typed, theirs).await;
        ended.send_replace(true);
    };
    let task = tokio::spawn(serving).abort_handle();
    let mut control = Console { inside, end, task };
    control.resize(terminal.0, terminal.1).await?;
    let stderr = Box::new(tokio::io::empty());
    Ok(Execution { stdin: Box::new(typing), stdout: Box::new(ours), stderr, control: Box::new(control) })
}

/// Until the console ends, or nobody looks at it any more.
async fn serve(shown: Vec<u8>, wire: Wire, mut typed: DuplexStream, mut to: DuplexStream) {
    let Wire { mut input, mut output } = wire;
    let awake = Notify::new();
    let look = async {
        if to.write_all(&shown).await.is_err() {
            return;
        }
        let mut piece = vec![0; PIECE];
        while let Ok(count) = output.read(&mut piece).await {
            awake.notify_one();
            if count == 0 || to.write_all(&piece[..count]).await.is_err() {
                return;
            }
        }
    };
    let speak = async {
        let mut first = vec![0; PIECE];
        while input.write_all(b"\r").await.is_ok() {
            tokio::select! {
                () = awake.notified() => break,
                count = typed.read(&mut first) => {
                    let _ = input.write_all(&first[..count.unwrap_or(0)]).await;
                    break;
                }
                () = tokio::time::sleep(NUDGE) => {}
            }
        }
        let _ = tokio::io::copy(&mut typed, &mut input).await;
        // Who types no more may look on.
        std::future::pending().await
    };
    tokio::select! {
        () = look => {}
        () = speak => {}
    }
}

struct Console {
    inside: Inside,
    end: watch::Receiver<bool>,
    task: tokio::task::AbortHandle,
}

impl Drop for Console {
    fn drop(&mut self) {
        self.kill();
    }
}

#[async_trait]
impl ExecControl for Console {
    /// A console ends with its machine, or when another operator takes it.
    async fn wait(&mut self) -> Result<ExecEnd, ProviderError> {
        // An error is a task that was given up: an end, too.
        let _ = self.end.wait_for(|ended| *ended).await;
        Ok(ExecEnd::Exited(0))
    }

    /// A serial line carries no size. The machine is told beside it if its agent answers, and not if it does not.
    async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ProviderError> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let argv = ["sh", "-c", RESIZE, "sh", &columns, &rows].map(str::to_owned).to_vec();
        let told = tokio::time::timeout(Duration::from_secs(2), async {
            let mut run = self.inside.exec(ExecRequest { argv, ..ExecRequest::default() }).await?;
            run.control.wait().await
        });
        if let Err(reason) =
            told.await.map_err(|_| "no answer".to_owned()).and_then(|told| told.map_err(|e| e.to_string()))
        {
            tracing::debug!("the console of {} keeps its size: {reason}", self.inside.name());
        }
        Ok(())
    }

    fn kill(&mut self) {
        self.task.abort();
    }
}

/// The end of a file, from the beginning of a line; nothing if it cannot be read.
fn tail(path: &Path, most: u64) -> Vec<u8> {
    let read = || -> std::io::Result<Vec<u8>> {
        let file = std::fs::File::open(path)?;
        let begin = file.metadata()?.len().saturating_sub(most);
        let mut bytes = vec![0; usize::try_from(most).unwrap_or_default()];
        let count = file.read_at(&mut bytes, begin)?;
        bytes.truncate(count);
        if begin > 0 {
            let line = memchr::memchr(b'\n', &bytes).map_or(0, |at| at + 1);
            bytes.drain(..line);
        }
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// What the machine said last, as one line for an error.
pub fn last_words(log: &Path) -> String {
    let text = String::from_utf8_lossy(&tail(log, SHOWN)).into_owned();
    let lines: Vec<String> = text.lines().map(printable).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}

/// Without what a terminal takes for orders.
fn printable(line: &str) -> String {
    let mut plain = String::new();
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' && characters.next_if_eq(&'[').is_some() {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else if !c.is_control() {
            plain.push(c);
        }
    }
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_plain_text() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let boot = "early\r\n\n[\u{1b}[0;1;31mFAILED\u{1b}[0m] to start x\r\n1\n2\n3\nKernel panic";
        std::fs::write(log.path(), boot).unwrap();
        assert_eq!(last_words(log.path()), "[FAILED] to start x | 1 | 2 | 3 | Kernel panic");
        assert_eq!(last_words(Path::new("/no/such/file")), "");
    }

    #[test]
    fn a_tail_begins_with_a_line() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), "first\nsecond\nthird\n").unwrap();
        assert_eq!(tail(log.path(), 10), b"third\n");
        assert_eq!(tail(log.path(), 100), b"first\nsecond\nthird\n");
    }
}
