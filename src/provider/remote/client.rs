//! One connection, seen from the controller: calls that are waited for, and commands that run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::protocol::{Answer, Call, CommandEnd, ERR, Errand, Facts, Frame, Hello, IN, OUT, Order, Tag};
use super::wire::{Coming, Wire, write_frames};
use crate::provider::{ExecControl, ExecEnd, Execution, Progress, ProviderError};

/// Bytes that wait between a stream and its reader here.
const PIPE: usize = 64 << 10;

/// What speaks to the other host.
pub struct Line {
    pub input: Box<dyn AsyncRead + Send + Unpin>,
    pub output: Box<dyn AsyncWrite + Send + Unpin>,
    pub keeper: Box<dyn Keeper>,
}

/// Holds a line; dropping it cuts it.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// Why the line is at its end.
    async fn why(&mut self) -> ProviderError;
}

/// Greets, and returns what the other end answers to the errand.
///
/// # Errors
/// The line broke, there is another version, or the errand was refused.
pub async fn greet(line: &mut Line, errand: Errand) -> Result<serde_json::Value, ProviderError> {
    let hello = Frame::json(0, Tag::Call, &Hello { version: super::VERSION.into(), errand });
    let spoken = async {
        hello.write(&mut line.output).await?;
        tokio::io::AsyncWriteExt::flush(&mut line.output).await?;
        Frame::read(&mut line.input).await
    };
    match spoken.await {
        Ok(Some(frame)) => match frame.read_json::<Answer>() {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(odd(&error)),
        },
        Err(error) if error.kind() == std::io::ErrorKind::Other => Err(odd(&error)),
        Ok(None) | Err(_) => Err(line.keeper.why().await),
    }
}

fn odd(error: &std::io::Error) -> ProviderError {
    ProviderError::Remote {
        words: format!("the other host does not speak as expected: {error}"),
        remedy: Some("its shell must say nothing when `ssh HOST COMMAND` logs in".into()),
    }
}

pub struct Client {
    wire: Arc<Wire>,
    waiting: Mutex<BTreeMap<u32, Waiting>>,
    last: AtomicU32,
    /// Why the connection is lost, once it is.
    lost: watch::Sender<Option<(String, Option<String>)>>,
    /// Ends with this value.
    work: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Waiting {
    answer: Option<oneshot::Sender<Answer>>,
    ended: Option<watch::Sender<Option<CommandEnd>>>,
    progress: Option<Progress>,
}

impl Client {
    /// Speaks on a line on which the greeting is over; what is found out on the way goes to `facts`.
    pub fn begin(line: Line, facts: Arc<Mutex<Facts>>) -> Arc<Self> {
        let Line { mut input, output, mut keeper } = line;
        let (wire, queue) = Wire::new();
        let client = Arc::new(Self {
            wire,
            waiting: Mutex::default(),
            last: AtomicU32::new(0),
            lost: watch::channel(None).0,
            work: Mutex::default(),
        });
        let reader = Arc::downgrade(&client);
        let mut work = client.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.spawn(async move {
            // If it cannot be written, the end of the input tells of it.
            let _ = write_frames(queue, output).await;
        });
        work.spawn(async move {
            while let Ok(Some(frame)) = Frame::read(&mut input).await {
                let Some(client) = reader.upgrade() else { return };
                if client.take(frame, &facts).is_err() {
                    break;
                }
            }
            let why = keeper.why().await;
            if let Some(client) = reader.upgrade() {
                client.lose(&why);
            }
        });
        drop(work);
        client
    }

    /// Returns when the connection is lost.
    pub async fn until_lost(&self) {
        // Its sender is `self`.
        let _ = self.lost.subscribe().wait_for(Option::is_some).await;
    }

    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    fn take(&self, frame: Frame, facts: &Mutex<Facts>) -> std::io::Result<()> {
        let Some(frame) = self.wire.take(frame) else { return Ok(()) };
        let mut waiting = self.waiting();
        let one = waiting.get_mut(&frame.id);
        match frame.tag {
            Tag::Answer => {
                let answer = frame.read_json()?;
                if let Some(sender) = one.and_then(|one| one.answer.take()) {
                    let _ = sender.send(answer);
                }
            }
            Tag::Ended => {
                let end = frame.read_json()?;
                if let Some(sender) = one.and_then(|one| one.ended.as_ref()) {
                    sender.send_replace(Some(end));
                }
            }
            Tag::Progress => {
                if let Some(progress) = one.and_then(|one| one.progress.clone()) {
                    drop(waiting);
                    progress(frame.read_json()?);
                }
            }
            Tag::Facts => *facts.lock().unwrap_or_else(PoisonError::into_inner) = frame.read_json()?,
            tag => return Err(std::io::Error::other(format!("{tag:?} came from a server"))),
        }
        Ok(())
    }

    fn lose(&self, why: &ProviderError) {
        self.lost.send_replace(Some((why.to_string(), why.remedy())));
        self.waiting().clear();
        self.wire.cut();
    }

    /// Why it was lost. A moment before that is known, something else may have noticed.
    fn lost(&self) -> ProviderError {
        let known = self.lost.borrow().clone();
        let (words, remedy) = known.unwrap_or_else(|| ("the connection to the other host is lost".into(), None));
        ProviderError::Remote { words, remedy }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u32, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enrol(self: &Arc<Self>, waiting: Waiting) -> Enrolled {
        let id = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.waiting().insert(id, waiting);
        Enrolled { client: self.clone(), id, over: false }
    }

    /// A call without streams. Dropping it cancels it over there.
    ///
    /// # Errors
    /// It failed there, or the connection is lost.
    pub async fn call<T: DeserializeOwned>(self: &Arc<Self>, call: &Call) -> Result<T, ProviderError> {
        self.call_telling(call, None).await
    }

    /// The same for long work, which says how far it is.
    pub async fn call_telling<T: DeserializeOwned>(
        self: &Arc<Self>,
        call: &Call,
        progress: Option<Progress>,
    ) -> Result<T, ProviderError> {
        let (sender, answer) = oneshot::channel();
        let enrolled = self.enrol(Waiting { answer: Some(sender), progress, ..Waiting::default() });
        self.wire.send(Frame::json(enrolled.id, Tag::Call, call));
        enrolled.answer(answer).await
    }

    /// A call that gives content.
    pub async fn send_content(self: &Arc<Self>, call: &Call, content: &[u8]) -> Result<(), ProviderError> {
        let (sender, answer) = oneshot::channel();
        let enrolled = self.enrol(Waiting { answer: Some(sender), ..Waiting::default() });
        let leaving = self.wire.leaving(enrolled.id, IN);
        self.wire.send(Frame::json(enrolled.id, Tag::Call, call));
        leaving.carry(content).await;
        enrolled.answer(answer).await
    }

    /// A call that takes content.
    pub async fn receive_content(self: &Arc<Self>, call: &Call) -> Result<Vec<u8>, ProviderError> {
        let (sender, answer) = oneshot::channel();
        let enrolled = self.enrol(Waiting { answer: Some(sender), ..Waiting::default() });
        let coming = self.wire.coming(enrolled.id, OUT);
        self.wire.send(Frame::json(enrolled.id, Tag::Call, call));
        // A refusal comes without content.
        let mut content = std::pin::pin!(coming.carry(Vec::new()));
        let mut answered = std::pin::pin!(enrolled.answer::<()>(answer));
        tokio::select! {
            biased;
            received = &mut content => {
                answered.await?;
                received.map_err(|_| self.lost())
            }
            answer = &mut answered => {
                answer?;
                content.await.map_err(|_| self.lost())
            }
        }
    }

    /// A call that begins a command.
    pub async fn begin_command(self: &Arc<Self>, call: &Call) -> Result<Execution, ProviderError> {
        let (sender, mut answer) = oneshot::channel();
        let (told, ended) = watch::channel(None);
        let enrolled = self.enrol(Waiting { answer: Some(sender), ended: Some(told), ..Waiting::default() });
        let id = enrolled.id;
        let (stdin, input) = duplex(PIPE);
        let leaving = self.wire.leaving(id, IN);
        let (out, err) = (self.wire.coming(id, OUT), self.wire.coming(id, ERR));
        self.wire.send(Frame::json(id, Tag::Call, call));
        enrolled.answered::<()>(&mut answer).await?;
        let mut feed = JoinSet::new();
        feed.spawn(leaving.carry(input));
        let control = Box::new(RemoteExec { enrolled, ended, _feed: feed });
        Ok(Execution { stdin: Box::new(stdin), stdout: output(out), stderr: output(err), control })
    }
}

/// What comes of a command, kept up by a task that ends with the stream or with its reader.
fn output(coming: Coming) -> Box<dyn AsyncRead + Send + Unpin> {
    let (reader, writer) = duplex(PIPE);
    tokio::spawn(async move { drop(coming.carry(writer).await) });
    Box::new(reader)
}

/// A call that is waited for.
struct Enrolled {
    client: Arc<Client>,
    id: u32,
    /// The other end knows nothing of it any more.
    over: bool,
}

impl Enrolled {
    async fn answer<T: DeserializeOwned>(mut self, mut answer: oneshot::Receiver<Answer>) -> Result<T, ProviderError> {
        let answered = self.answered(&mut answer).await;
        self.over = true;
        answered
    }

    async fn answered<T: DeserializeOwned>(&self, answer: &mut oneshot::Receiver<Answer>) -> Result<T, ProviderError> {
        if self.client.is_lost() {
            return Err(self.client.lost());
        }
        let value = answer.await.map_err(|_| self.client.lost())??;
        serde_json::from_value(value).map_err(|error| odd(&std::io::Error::other(error)))
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.client.waiting().remove(&self.id);
        if !self.over {
            self.client.wire.send(Frame::new(self.id, Tag::Cancel));
        }
    }
}

/// A command over there. Dropping it kills it.
struct RemoteExec {
    enrolled: Enrolled,
    ended: watch::Receiver<Option<CommandEnd>>,
    _feed: JoinSet<()>,
}

impl RemoteExec {
    fn order(&self, order: &Order) {
        self.enrolled.client.wire.send(Frame::json(self.enrolled.id, Tag::Order, order));
    }
}

#[async_trait]
impl ExecControl for RemoteExec {
    async fn wait(&mut self) -> Result<ExecEnd, ProviderError> {
        match self.ended.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => Ok(end?),
            Ok(None) | Err(_) => Err(self.enrolled.client.lost()),
        }
    }

    async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ProviderError> {
        self.order(&Order::Resize(columns, rows));
        Ok(())
    }

    fn kill(&mut self) {
        self.order(&Order::Kill);
    }
}
