//! The controller's side of the helper: running commands in a machine and reaching its files.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::{AsyncRead, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Child;

#[cfg(feature = "libvirt")]
use crate::provider::local::helper::ShareOrder;
use crate::provider::local::helper::{
    ExecOrder, FileAction, FileOrder, HELPER_ARGUMENT, HelperReply, HelperRequest, decode_reply, encode_request,
};
use crate::provider::{
    ExecControl, ExecEnd, ExecRequest, Execution, FileKind, FileStat, InstanceName, ProviderError, WriteOptions,
    command,
};

/// A reply line is short; more than this is not one.
const LINE_LIMIT: usize = 4096;

/// A command starts within milliseconds; only a machine that misuses its own mounts can hold it up.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Sends the request's length, the streams riding along.
fn send_head(socket: &StdUnixStream, head: &[u8], passed: &[OwnedFd]) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = passed.iter().map(OwnedFd::as_fd).collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    sendmsg(socket, &[IoSlice::new(head)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

struct Pipes {
    stdin: (std::io::PipeReader, std::io::PipeWriter),
    stdout: (std::io::PipeReader, std::io::PipeWriter),
    stderr: (std::io::PipeReader, std::io::PipeWriter),
}

struct Streams {
    stdin: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    stdout: Box<dyn AsyncRead + Send + Unpin>,
    stderr: Box<dyn AsyncRead + Send + Unpin>,
}

impl Pipes {
    fn new() -> std::io::Result<Self> {
        Ok(Self { stdin: std::io::pipe()?, stdout: std::io::pipe()?, stderr: std::io::pipe()? })
    }

    fn theirs(&self) -> Vec<OwnedFd> {
        let ends = [
            self.stdin.0.try_clone().map(OwnedFd::from),
            self.stdout.1.try_clone().map(OwnedFd::from),
            self.stderr.1.try_clone().map(OwnedFd::from),
        ];
        // A missing one is noticed by the helper, which wants three.
        ends.into_iter().filter_map(Result::ok).collect()
    }

    fn into_ours(self) -> std::io::Result<Streams> {
        let (stdin, stdout, stderr) = (OwnedFd::from(self.stdin.1), self.stdout.0.into(), self.stderr.0.into());
        Ok(Streams {
            stdin: Box::new(pipe::Sender::from_owned_fd(stdin)?),
            stdout: Box::new(pipe::Receiver::from_owned_fd(stdout)?),
            stderr: Box::new(pipe::Receiver::from_owned_fd(stderr)?),
        })
    }
}

impl Streams {
    fn of_terminal(master: &OwnedFd) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(master, true)?;
        Ok(Self {
            stdin: Box::new(pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?),
            stdout: Box::new(TerminalOutput(pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?)),
            stderr: Box::new(tokio::io::empty()),
        })
    }
}

/// A terminal says EIO where a pipe says end of file.
struct TerminalOutput(pipe::Receiver);

impl AsyncRead for TerminalOutput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(cx, buf) {
            Poll::Ready(Err(error)) if error.raw_os_error() == Some(libc::EIO) => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

struct ContainerExec {
    name: InstanceName,
    /// Closing it is what kills the command.
    socket: Option<UnixStream>,
    child: Child,
    /// What came of the next reply so far.
    line: Vec<u8>,
    ended: Option<ExecEnd>,
    master: Option<OwnedFd>,
}

impl ContainerExec {
    /// Cancel safe: a part of a line stays in `self`.
    async fn next_reply(&mut self) -> Result<HelperReply, ProviderError> {
        let name = &self.name;
        let entered = |source: std::io::Error| ProviderError::Enter { name: name.clone(), source };
        let Some(socket) = &self.socket else {
            return Err(entered(std::io::ErrorKind::BrokenPipe.into()));
        };
        loop {
            if let Some((reply, rest)) = decode_reply(&self.line) {
                let rest = rest.to_vec();
                self.line = rest;
                return Ok(reply);
            }
            let mut chunk = [0; 512];
            let (count, descriptor) =
                socket.async_io(Interest::READABLE, || receive(socket, &mut chunk)).await.map_err(entered)?;
            if count == 0 || self.line.len() > LINE_LIMIT {
                return Err(entered(std::io::Error::other("the helper ended without a word")));
            }
            self.line.extend_from_slice(&chunk[..count]);
            self.master = self.master.take().or(descriptor);
        }
    }
}

fn receive(socket: &UnixStream, chunk: &mut [u8]) -> std::io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [std::io::IoSliceMut::new(chunk)], &mut ancillary, flags)?;
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptor.or(descriptors.last());
        }
    }
    Ok((received.bytes, descriptor))
}

#[async_trait]
impl ExecControl for ContainerExec {
    async fn wait(&mut self) -> Result<ExecEnd, ProviderError> {
        if let Some(end) = self.ended {
            return Ok(end);
        }
        let end = match self.next_reply().await {
            Ok(HelperReply::Exited(code)) => ExecEnd::Exited(code),
            Ok(HelperReply::TimedOut) => ExecEnd::TimedOut,
            Ok(other) => return Err(refused(&self.name, other)),
            // We closed the socket ourselves.
            Err(_) if self.socket.is_none() => ExecEnd::Exited(128 + libc::SIGKILL),
            Err(error) => return Err(error),
        };
        self.ended = Some(end);
        // Only reaps: what the helper had to say is said.
        let _ = self.child.wait().await;
        Ok(end)
    }

    async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ProviderError> {
        let Some(master) = &self.master else { return Ok(()) };
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master, size)
            .map_err(|source| ProviderError::Enter { name: self.name.clone(), source: source.into() })
    }

    fn kill(&mut self) {
        // The helper takes the end of our half as the order to kill, and still tells how the command ended.
        if let Some(socket) = &self.socket {
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
    }
}

/// The error behind a reply that is none of the expected.
fn refused(name: &InstanceName, reply: HelperReply) -> ProviderError {
    match reply {
        HelperReply::NoUser(user) => ProviderError::NoUser { name: name.clone(), user },
        HelperReply::Failed { step, errno } => {
            let source = std::io::Error::from_raw_os_error(errno);
            ProviderError::Enter {
                name: name.clone(),
                source: std::io::Error::new(source.kind(), format!("{step}: {source}")),
            }
        }
        other => {
            let source = std::io::Error::other(format!("unexpected reply {other:?}"));
            ProviderError::Enter { name: name.clone(), source }
        }
    }
}

async fn ask(helper: &Path, request: &HelperRequest, content: &[u8]) -> Result<(HelperReply, Vec<u8>), ProviderError> {
    let mut bytes = encode_request(request)?;
    bytes.extend_from_slice(content);
    let program = helper.to_string_lossy();
    let output = command::run(&[&program, HELPER_ARGUMENT], &bytes).await?;
    let Some((reply, rest)) = decode_reply(&output) else {
        let source = std::io::Error::other("the helper ended without a word");
        return Err(ProviderError::Spawn { command: program.into_owned(), source });
    };
    let rest = rest.to_vec();
    Ok((reply, rest))
}

/// Mounts a machine's root at `target`, as `order` says.
pub async fn mount_root(helper: &Path, target: PathBuf, order: HelperRequest) -> Result<(), ProviderError> {
    mounted(helper, target, &order).await
}

/// Mounts a machine's root also where another process has its mounts.
#[cfg(feature = "libvirt")]
pub async fn share_mount(helper: &Path, order: ShareOrder) -> Result<(), ProviderError> {
    let target = order.target.clone();
    mounted(helper, target, &HelperRequest::Share(order)).await
}

async fn mounted(helper: &Path, target: PathBuf, request: &HelperRequest) -> Result<(), ProviderError> {
    match ask(helper, request, b"").await?.0 {
        HelperReply::Done => Ok(()),
        HelperReply::Failed { step, errno } => {
            Err(ProviderError::Mount { target, step, source: std::io::Error::from_raw_os_error(errno) })
        }
        other => {
            Err(ProviderError::Mount { target, step: format!("{other:?}"), source: std::io::ErrorKind::Other.into() })
        }
    }
}

/// The way into one machine, by its init.
#[derive(Debug)]
pub struct Door<'a> {
    pub helper: &'a Path,
    pub name: InstanceName,
    pub init: i32,
}

impl Door<'_> {
    /// Starts a command.
    pub async fn run(&self, request: ExecRequest) -> Result<Execution, ProviderError> {
        let name = &self.name;
        let entered = |source: std::io::Error| ProviderError::Enter { name: name.clone(), source };
        let terminal = request.terminal;
        let order = HelperRequest::Exec(ExecOrder {
            init: self.init,
            argv: request.argv,
            env: request.env,
            cwd: request.cwd,
            user: request.user,
            timeout_ms: request.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            terminal,
        });
        let bytes = encode_request(&order)?;
        let (ours, theirs) = StdUnixStream::pair().map_err(entered)?;
        let child = command::spawn_helper(self.helper, HELPER_ARGUMENT, theirs.into())?;
        let pipes = if terminal.is_some() { None } else { Some(Pipes::new().map_err(entered)?) };
        let passed = pipes.as_ref().map(Pipes::theirs).unwrap_or_default();
        send_head(&ours, &bytes[..4], &passed).map_err(entered)?;
        drop(passed);
        let pipes = pipes.map(Pipes::into_ours);
        ours.set_nonblocking(true).map_err(entered)?;
        let mut socket = UnixStream::from_std(ours).map_err(entered)?;
        // A helper that gave up already tells why; that is worth more than the broken pipe.
        let _ = socket.write_all(&bytes[4..]).await;
        let mut control = ContainerExec {
            name: name.clone(),
            socket: Some(socket),
            child,
            line: Vec::new(),
            ended: None,
            master: None,
        };
        let started = tokio::time::timeout(START_LIMIT, control.next_reply()).await;
        match started.map_err(|_| entered(std::io::ErrorKind::TimedOut.into()))?? {
            HelperReply::Started => {}
            other => return Err(refused(name, other)),
        }
        let streams = match (pipes, &control.master) {
            (Some(streams), _) => streams,
            (None, Some(master)) => Streams::of_terminal(master),
            (None, None) => Err(std::io::Error::other("no terminal was handed over")),
        }
        .map_err(entered)?;
        let Streams { stdin, stdout, stderr } = streams;
        Ok(Execution { stdin, stdout, stderr, control: Box::new(control) })
    }

    pub async fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        let (reply, content) = self.ask("read", path, FileAction::Read { limit }, b"").await?;
        match reply {
            HelperReply::Content => Ok(content),
            HelperReply::NoFile => Err(ProviderError::NoFile { name: self.name.clone(), path: path.into() }),
            HelperReply::TooLarge => {
                Err(ProviderError::FileTooLarge { name: self.name.clone(), path: path.into(), limit })
            }
            other => Err(self.failed("read", path, other)),
        }
    }

    pub async fn write(&self, path: &str, content: &[u8], options: &WriteOptions) -> Result<(), ProviderError> {
        let WriteOptions { mode, user, group } = options.clone();
        match self.ask("write", path, FileAction::Write { mode, user, group }, content).await?.0 {
            HelperReply::Done => Ok(()),
            other => Err(self.failed("write", path, other)),
        }
    }

    pub async fn stat(&self, path: &str) -> Result<Option<FileStat>, ProviderError> {
        match self.ask("look at", path, FileAction::Stat, b"").await?.0 {
            HelperReply::NoFile => Ok(None),
            HelperReply::Stat { kind, mode, uid, gid, size } => {
                let kind = match kind.as_str() {
                    "file" => FileKind::File,
                    "directory" => FileKind::Directory,
                    "symlink" => FileKind::Symlink,
                    _ => FileKind::Other,
                };
                Ok(Some(FileStat { kind, mode, uid, gid, size }))
            }
            other => Err(self.failed("look at", path, other)),
        }
    }

    pub async fn remove(&self, path: &str) -> Result<(), ProviderError> {
        match self.ask("remove", path, FileAction::Remove, b"").await?.0 {
            HelperReply::Done => Ok(()),
            other => Err(self.failed("remove", path, other)),
        }
    }

    async fn ask(
        &self,
        action: &'static str,
        path: &str,
        order: FileAction,
        content: &[u8],
    ) -> Result<(HelperReply, Vec<u8>), ProviderError> {
        if !path.starts_with('/') {
            let reason = "the path must begin with /".to_owned();
            return Err(ProviderError::File { action, name: self.name.clone(), path: path.into(), reason });
        }
        let request = HelperRequest::File(FileOrder { init: self.init, path: path.into(), action: order });
        ask(self.helper, &request, content).await
    }

    fn failed(&self, action: &'static str, path: &str, reply: HelperReply) -> ProviderError {
        let reason = match reply {
            HelperReply::NoUser(user) => return ProviderError::NoUser { name: self.name.clone(), user },
            HelperReply::Failed { step, errno } => {
                format!("{step}: {}", std::io::Error::from_raw_os_error(errno))
            }
            other => format!("unexpected reply {other:?}"),
        };
        ProviderError::File { action, name: self.name.clone(), path: path.into(), reason }
    }
}
