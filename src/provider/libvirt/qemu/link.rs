//! The controller's end of a machine's port: many commands at once over one connection.
//!
//! # Guarantees
//! A command that is slow to read or to write holds up no other, and nothing is kept in memory but what is under way
//! within each stream's window. When the connection is lost every command's end is an error, at once.
//!
//! # Limits
//! A machine that is reset does not close the port. It is noticed when nothing was heard for a while and libvirt says
//! that nobody serves the port any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::FramedRead;

use super::frame::{Frames, FromGuest, Stream, ToGuest, WINDOW};
use super::way::{Way, Wire};
use crate::provider::local::locked;

/// A machine with commands that said nothing for so long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(10);

const ANSWER: Duration = Duration::from_secs(5);

/// Frames that are written at once.
const BATCH: usize = 64;

/// A connection to the helper in one machine.
pub struct Link {
    frames: UnboundedSender<Bytes>,
    runs: Arc<Mutex<Runs>>,
    task: AbortHandle,
}

struct Runs {
    next: u32,
    open: HashMap<u32, Run>,
    lost: bool,
    heard: Instant,
}

/// What is kept of a command until nobody has to do with it any more.
struct Run {
    stdout: Option<UnboundedSender<Bytes>>,
    stderr: Option<UnboundedSender<Bytes>>,
    words: UnboundedSender<FromGuest>,
    state: Arc<Mutex<RunState>>,
}

impl Run {
    fn output(&mut self, stream: Stream) -> &mut Option<UnboundedSender<Bytes>> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

#[derive(Default)]
pub struct RunState {
    /// Bytes of input that may be sent before the machine has taken some.
    pub ahead: usize,
    pub input_closed: bool,
    /// Who waits to write more.
    pub writer: Option<Waker>,
    pub ended: bool,
    pub timed_out: bool,
}

impl RunState {
    fn close_input(&mut self) {
        self.input_closed = true;
        self.wake_writer();
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// A command that was just asked for.
pub struct Begun {
    pub ticket: Arc<Ticket>,
    pub state: Arc<Mutex<RunState>>,
    pub stdout: UnboundedReceiver<Bytes>,
    pub stderr: UnboundedReceiver<Bytes>,
    pub words: UnboundedReceiver<FromGuest>,
}

/// The last of its holders tells the machine to forget the command.
pub struct Ticket {
    link: Arc<Link>,
    number: u32,
}

impl Ticket {
    pub fn say(&self, order: &ToGuest<'_>) {
        self.link.say(self.number, order);
    }

    pub fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        locked(&self.link.runs).open.remove(&self.number);
        self.say(&ToGuest::Forget);
    }
}

impl Link {
    /// Serves the connection, whose greetings were exchanged.
    pub fn serve(wire: Wire, read_ahead: BytesMut, way: Arc<dyn Way>) -> Arc<Self> {
        let (frames, to_write) = mpsc::unbounded_channel();
        let heard = Instant::now();
        let runs = Arc::new(Mutex::new(Runs { next: 1, open: HashMap::new(), lost: false, heard }));
        let (heard, watched, sender) = (runs.clone(), runs.clone(), frames.downgrade());
        let lost = runs.clone();
        let task = tokio::spawn(async move {
            // Whichever ends, both directions are closed: the port takes nobody else before.
            tokio::select! {
                () = read(wire.output, read_ahead, heard) => {}
                () = write(wire.input, to_write) => {}
                () = watch(way, watched, sender) => {}
            }
            lose(&lost);
        });
        let task = task.abort_handle();
        Arc::new(Self { frames, runs, task })
    }

    pub fn is_lost(&self) -> bool {
        locked(&self.runs).lost
    }

    /// Ends the connection, and with it every command.
    pub fn cut(&self) {
        self.task.abort();
        lose(&self.runs);
    }

    fn say(&self, number: u32, order: &ToGuest<'_>) {
        // A lost link has told everyone so already.
        let _ = self.frames.send(order.encode(number));
    }

    #[cfg(test)]
    pub fn say_raw(&self, bytes: &[u8]) {
        let _ = self.frames.send(Bytes::copy_from_slice(bytes));
    }

    /// Asks for a command, or for something with a file. `None` if the link is lost.
    pub fn begin(self: &Arc<Self>, words: &[String]) -> Option<Begun> {
        let (out, stdout) = mpsc::unbounded_channel();
        let (err, stderr) = mpsc::unbounded_channel();
        let (word, heard) = mpsc::unbounded_channel();
        let state = Arc::new(Mutex::new(RunState { ahead: WINDOW, ..RunState::default() }));
        let run = Run { stdout: Some(out), stderr: Some(err), words: word, state: state.clone() };
        let number = {
            let mut runs = locked(&self.runs);
            if runs.lost {
                return None;
            }
            let number = runs.next;
            runs.next = runs.next.wrapping_add(1);
            runs.open.insert(number, run);
            runs.heard = Instant::now();
            number
        };
        self.say(number, &ToGuest::Begin(words));
        let ticket = Arc::new(Ticket { link: self.clone(), number });
        Some(Begun { ticket, state, stdout, stderr, words: heard })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

fn lose(runs: &Mutex<Runs>) {
    let mut runs = locked(runs);
    runs.lost = true;
    for (_, run) in runs.open.drain() {
        locked(&run.state).close_input();
    }
}

async fn read(output: Box<dyn AsyncRead + Send + Unpin>, read_ahead: BytesMut, runs: Arc<Mutex<Runs>>) {
    let mut frames = FramedRead::new(output, Frames);
    *frames.read_buffer_mut() = read_ahead;
    while let Some(frame) = frames.next().await {
        match frame {
            Ok((_, FromGuest::Bye)) => break,
            Ok((number, word)) => hear(&mut locked(&runs), number, word),
            Err(error) => {
                tracing::debug!("a machine's port: {error}");
                break;
            }
        }
    }
}

fn hear(runs: &mut Runs, number: u32, word: FromGuest) {
    runs.heard = Instant::now();
    // It may be forgotten already; the machine hears that soon.
    let Some(run) = runs.open.get_mut(&number) else { return };
    match word {
        FromGuest::Output(which, bytes) => {
            // Whoever read it may have gone; the machine hears that soon, too.
            let _ = run.output(which).as_ref().map(|to| to.send(bytes));
        }
        FromGuest::OutputEnd(which) => *run.output(which) = None,
        FromGuest::Took(bytes) => {
            let mut state = locked(&run.state);
            state.ahead += bytes;
            state.wake_writer();
        }
        FromGuest::InputClosed => locked(&run.state).close_input(),
        word => {
            if matches!(word, FromGuest::Ended(_)) {
                locked(&run.state).ended = true;
            }
            let _ = run.words.send(word);
        }
    }
}

async fn write(mut input: Box<dyn tokio::io::AsyncWrite + Send + Unpin>, mut frames: UnboundedReceiver<Bytes>) {
    let mut batch = Vec::with_capacity(BATCH);
    while frames.recv_many(&mut batch, BATCH).await > 0 {
        // What cannot be written is noticed by whoever reads.
        if input.write_all(&batch.concat()).await.is_err() {
            return;
        }
        batch.clear();
    }
}

/// Finds out that nobody is there any more: a machine that was reset closes nothing.
async fn watch(way: Arc<dyn Way>, runs: Arc<Mutex<Runs>>, frames: mpsc::WeakUnboundedSender<Bytes>) {
    loop {
        tokio::time::sleep(SILENCE).await;
        let (busy, heard) = {
            let runs = locked(&runs);
            (!runs.open.is_empty(), runs.heard)
        };
        if !busy || heard.elapsed() < SILENCE {
            continue;
        }
        let Some(frames) = frames.upgrade() else { return };
        let _ = frames.send(ToGuest::Ping.encode(0));
        drop(frames);
        tokio::time::sleep(ANSWER).await;
        // One that is held still keeps its port.
        if locked(&runs).heard == heard && matches!(way.is_served().await, Ok(false)) {
            return;
        }
    }
}
