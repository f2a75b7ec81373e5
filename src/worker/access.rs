//! A machine as a hook sees it, on top of a provider.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::charm::{
    AccessError, ExecCall, ExecResult, FileAttributes, FileInfo, MachineAccess, OUTPUT_LIMIT, OutputLines, OutputStream,
};
use crate::provider::{ExecEnd, ExecRequest, FileKind, InstanceName, Provider, ProviderError, WriteOptions};

use super::chain;

/// Bytes of a file that a hook may read.
const READ_LIMIT: u64 = 16 << 20;
/// How long the streams of a command that has ended are read on.
const GRACE: Duration = Duration::from_millis(200);
/// A line of output longer than this is logged in pieces.
const LINE_LIMIT: usize = 8 << 10;

pub struct Access {
    provider: Arc<dyn Provider>,
    instance: InstanceName,
}

impl Access {
    pub fn new(provider: Arc<dyn Provider>, instance: InstanceName) -> Self {
        Access { provider, instance }
    }
}

fn told(error: ProviderError) -> AccessError {
    AccessError(chain(&error))
}

#[async_trait]
impl MachineAccess for Access {
    async fn exec(&self, call: ExecCall, lines: OutputLines) -> Result<ExecResult, AccessError> {
        let request = ExecRequest {
            argv: call.argv,
            env: call.env,
            cwd: call.cwd,
            user: call.user,
            timeout: call.timeout,
            terminal: None,
        };
        let mut execution = self.provider.exec(&self.instance, request).await.map_err(told)?;
        let (mut stdin, input) = (execution.stdin, call.stdin);
        let feed = async move {
            // A command may end without reading all of its input.
            let _ = stdin.write_all(&input).await;
            let _ = stdin.shutdown().await;
        };
        let (stdout, stderr) = (Kept::default(), Kept::default());
        let out = drain(&mut execution.stdout, OutputStream::Stdout, &lines, &stdout);
        let err = drain(&mut execution.stderr, OutputStream::Stderr, &lines, &stderr);
        let mut streams = std::pin::pin!(async { tokio::join!(feed, out, err) });
        let end = tokio::select! {
            biased;
            end = execution.control.wait() => {
                // What it said last is still to be read; a service it started may hold the streams open for ever.
                let _ = tokio::time::timeout(GRACE, &mut streams).await;
                end
            }
            _ = &mut streams => execution.control.wait().await,
        };
        let (code, timed_out) = match end.map_err(told)? {
            ExecEnd::Exited(code) => (code, false),
            ExecEnd::TimedOut => (137, true),
        };
        let (stdout, stderr) = (stdout.take(), stderr.take());
        Ok(ExecResult { code, timed_out, stdout, stderr })
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, AccessError> {
        match self.provider.read_file(&self.instance, path, READ_LIMIT).await {
            Ok(content) => Ok(Some(content)),
            Err(ProviderError::NoFile { .. }) => Ok(None),
            Err(error) => Err(told(error)),
        }
    }

    async fn write(&self, path: &str, content: &[u8], attributes: &FileAttributes) -> Result<(), AccessError> {
        let options =
            WriteOptions { mode: attributes.mode, user: attributes.user.clone(), group: attributes.group.clone() };
        self.provider.write_file(&self.instance, path, content, &options).await.map_err(told)
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>, AccessError> {
        let stat = self.provider.stat_file(&self.instance, path).await.map_err(told)?;
        Ok(stat.map(|stat| FileInfo {
            kind: match stat.kind {
                FileKind::File => "file",
                FileKind::Directory => "directory",
                FileKind::Symlink => "symlink",
                FileKind::Other => "other",
            },
            mode: stat.mode,
            size: stat.size,
            uid: stat.uid,
            gid: stat.gid,
        }))
    }

    async fn remove(&self, path: &str) -> Result<(), AccessError> {
        self.provider.remove_file(&self.instance, path).await.map_err(told)
    }
}

/// The end of a stream.
#[derive(Default)]
struct Kept(Mutex<Vec<u8>>);

impl Kept {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        if kept.len() > 2 * OUTPUT_LIMIT {
            let surplus = kept.len() - OUTPUT_LIMIT;
            kept.drain(..surplus);
        }
    }

    fn take(&self) -> Vec<u8> {
        let mut kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let surplus = kept.len().saturating_sub(OUTPUT_LIMIT);
        kept.drain(..surplus);
        kept
    }
}

/// Tells every line as it comes and keeps the end of the stream.
async fn drain(from: &mut (dyn AsyncRead + Send + Unpin), stream: OutputStream, lines: &OutputLines, kept: &Kept) {
    let mut line = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        // A broken stream ends like a closed one; how the command ended is told by its exit.
        let count = from.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            break;
        }
        for byte in &buffer[..count] {
            if *byte == b'\n' || line.len() >= LINE_LIMIT {
                tell(&mut line, stream, lines);
            }
            if *byte != b'\n' {
                line.push(*byte);
            }
        }
        kept.add(&buffer[..count]);
    }
    if !line.is_empty() {
        tell(&mut line, stream, lines);
    }
}

fn tell(line: &mut Vec<u8>, stream: OutputStream, lines: &OutputLines) {
    lines(stream, String::from_utf8_lossy(line).trim_end_matches('\r'));
    line.clear();
}
