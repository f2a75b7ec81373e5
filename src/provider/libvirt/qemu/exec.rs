//! Commands in a virtual machine.

use std::io::{Error, ErrorKind, Result as IoResult};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::AbortHandle;
use tokio_util::bytes::{Buf as _, Bytes};

use super::frame::{CHUNK, FromGuest, Stream, ToGuest, WINDOW};
use super::link::{Begun, RunState, Ticket};
use crate::provider::local::locked;
use crate::provider::{ExecControl, ExecEnd, ExecRequest, Execution, InstanceName, ProviderError};

/// A machine in which a killed command has not ended after so long does not answer at all.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// The request as the helper takes it.
pub fn order(request: &ExecRequest) -> Vec<String> {
    let (columns, rows) = request.terminal.unwrap_or_default();
    let mut words = vec![
        "run".to_owned(),
        request.user.clone().unwrap_or_default(),
        request.cwd.clone().unwrap_or_default(),
        columns.to_string(),
        rows.to_string(),
        request.argv.len().to_string(),
    ];
    words.extend(request.argv.iter().cloned());
    words.extend(request.env.iter().flat_map(|(key, value)| [key.clone(), value.clone()]));
    words
}

/// The command that the machine has begun.
pub fn execution(name: &InstanceName, begun: Begun, timeout: Option<Duration>) -> Execution {
    let Begun { ticket, state, stdout, stderr, words } = begun;
    let timer = timeout.map(|timeout| tokio::spawn(end_at(timeout, ticket.clone(), state.clone())).abort_handle());
    let output = |stream, chunks| Output { ticket: ticket.clone(), stream, chunks, current: Bytes::new(), read: 0 };
    Execution {
        stdin: Box::new(Input { ticket: ticket.clone(), state: state.clone(), ended: false }),
        stdout: Box::new(output(Stream::Stdout, stdout)),
        stderr: Box::new(output(Stream::Stderr, stderr)),
        control: Box::new(Control { name: name.clone(), ticket, state, words, ended: None, timer }),
    }
}

/// Kills the command when its time is over.
async fn end_at(timeout: Duration, ticket: Arc<Ticket>, state: Arc<Mutex<RunState>>) {
    tokio::time::sleep(timeout).await;
    {
        let mut state = locked(&state);
        if state.ended {
            return;
        }
        state.timed_out = true;
    }
    ticket.say(&ToGuest::Kill);
    tokio::time::sleep(KILL_LIMIT).await;
    if !locked(&state).ended {
        ticket.link().cut();
    }
}

/// What is said to a caller whose machine is gone.
pub fn lost(name: &InstanceName) -> ProviderError {
    let source = Error::new(ErrorKind::BrokenPipe, "the machine does not answer any more");
    ProviderError::Enter { name: name.clone(), source }
}

/// The error behind a word that is none of the expected.
pub fn refused(name: &InstanceName, word: Option<FromGuest>) -> ProviderError {
    match word {
        None => lost(name),
        Some(FromGuest::NoUser(user)) => ProviderError::NoUser { name: name.clone(), user },
        Some(FromGuest::Failed { step, errno }) => {
            let source = Error::from_raw_os_error(errno);
            let source = Error::new(source.kind(), format!("{step}: {source}"));
            ProviderError::Enter { name: name.clone(), source }
        }
        Some(other) => {
            let source = Error::other(format!("unexpected reply {other:?}"));
            ProviderError::Enter { name: name.clone(), source }
        }
    }
}

struct Control {
    name: InstanceName,
    ticket: Arc<Ticket>,
    state: Arc<Mutex<RunState>>,
    words: UnboundedReceiver<FromGuest>,
    ended: Option<ExecEnd>,
    timer: Option<AbortHandle>,
}

impl Control {
    fn stop_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.kill();
        self.stop_timer();
    }
}

#[async_trait]
impl ExecControl for Control {
    async fn wait(&mut self) -> Result<ExecEnd, ProviderError> {
        if let Some(end) = self.ended {
            return Ok(end);
        }
        let end = match self.words.recv().await {
            Some(FromGuest::Ended(_)) if locked(&self.state).timed_out => ExecEnd::TimedOut,
            Some(FromGuest::Ended(code)) => ExecEnd::Exited(code),
            other => return Err(refused(&self.name, other)),
        };
        self.ended = Some(end);
        self.stop_timer();
        Ok(end)
    }

    async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ProviderError> {
        self.ticket.say(&ToGuest::Resize(columns, rows));
        Ok(())
    }

    fn kill(&mut self) {
        if !locked(&self.state).ended {
            self.ticket.say(&ToGuest::Kill);
        }
    }
}

struct Input {
    ticket: Arc<Ticket>,
    state: Arc<Mutex<RunState>>,
    ended: bool,
}

impl Input {
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.ticket.say(&ToGuest::InputEnd);
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        let mut state = locked(&self.state);
        if state.input_closed || self.ended {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(CHUNK).min(state.ahead);
        if count == 0 && !bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.ahead -= count;
        drop(state);
        self.ticket.say(&ToGuest::Input(&bytes[..count]));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

struct Output {
    ticket: Arc<Ticket>,
    stream: Stream,
    chunks: UnboundedReceiver<Bytes>,
    current: Bytes,
    /// Bytes that were read and not yet told of.
    read: usize,
}

impl AsyncRead for Output {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        if self.current.is_empty() {
            match self.chunks.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(chunk)) => self.current = chunk,
            }
        }
        let count = self.current.len().min(buf.remaining());
        buf.put_slice(&self.current[..count]);
        self.current.advance(count);
        self.read += count;
        if self.read >= WINDOW / 4 {
            let read = std::mem::take(&mut self.read);
            self.ticket.say(&ToGuest::Took(self.stream, read));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Whoever goes on writing is told by a broken pipe.
        self.ticket.say(&ToGuest::Close(self.stream));
    }
}
