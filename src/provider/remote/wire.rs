//! One connection as both ends see it: frames that leave, and the streams of all calls side by side.
//!
//! # Guarantees
//! A stream that nobody reads holds up no other: of each at most [`WINDOW`] bytes are on their way, and its reader gives
//! leave for more as it takes them. So the queue of frames needs no bound of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::protocol::{Channel, Frame, Tag};

/// Bytes of one stream on their way: enough for a fast line over some distance.
const WINDOW: usize = 1 << 20;
/// Bytes of one stream in a frame: others have their turn in between.
const PIECE: usize = 64 << 10;

/// How long a stream whose command has ended may be silent before all that was said is taken to be read.
const SILENCE: Duration = Duration::from_millis(50);
/// Reads after which nothing is left of what was in a pipe or a terminal.
const MOST_READS: u32 = 32;

type Key = (u32, Channel);

pub struct Wire {
    frames: mpsc::UnboundedSender<Frame>,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    /// The connection is lost: no stream begins any more.
    cut: bool,
    leaving: BTreeMap<Key, (Arc<Semaphore>, CancellationToken)>,
    coming: BTreeMap<Key, mpsc::UnboundedSender<Piece>>,
}

enum Piece {
    Data(Vec<u8>),
    End,
}

impl Wire {
    /// The wire, and what is to be written by [`write_frames`].
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Frame>) {
        let (frames, queue) = mpsc::unbounded_channel();
        (Arc::new(Self { frames, streams: Mutex::default() }), queue)
    }

    /// Lost if the connection is, which its reader finds out.
    pub fn send(&self, frame: Frame) {
        let _ = self.frames.send(frame);
    }

    /// Takes a frame that concerns a stream; gives back any other.
    pub fn take(&self, frame: Frame) -> Option<Frame> {
        let key = (frame.id, frame.channel);
        let streams = self.streams();
        match frame.tag {
            Tag::Data | Tag::End => {
                let piece = if frame.tag == Tag::Data { Piece::Data(frame.payload) } else { Piece::End };
                // Whoever does not read it any more has said so, and this was on its way.
                if let Some(coming) = streams.coming.get(&key) {
                    let _ = coming.send(piece);
                }
            }
            Tag::Close => {
                if let Some((_, closed)) = streams.leaving.get(&key) {
                    closed.cancel();
                }
            }
            Tag::Credit => {
                if let Some((leave, _)) = streams.leaving.get(&key) {
                    leave.add_permits(frame.read_json::<usize>().unwrap_or_default());
                }
            }
            _ => return Some(frame),
        }
        drop(streams);
        None
    }

    /// The connection is lost: whoever reads a stream learns it.
    pub fn cut(&self) {
        let mut streams = self.streams();
        streams.cut = true;
        streams.coming.clear();
        std::mem::take(&mut streams.leaving).into_values().for_each(|(_, closed)| closed.cancel());
    }

    /// A stream that leaves. Known from now on, sent by [`Leaving::carry`].
    pub fn leaving(self: &Arc<Self>, id: u32, channel: Channel) -> Leaving {
        let (leave, closed) = (Arc::new(Semaphore::new(WINDOW)), CancellationToken::new());
        let mut streams = self.streams();
        if streams.cut {
            closed.cancel();
        }
        streams.leaving.insert((id, channel), (leave.clone(), closed.clone()));
        drop(streams);
        Leaving { wire: self.clone(), key: (id, channel), leave, closed, idle: watch::channel(false).0 }
    }

    /// A stream that comes. Known from now on, received by [`Coming::carry`].
    pub fn coming(self: &Arc<Self>, id: u32, channel: Channel) -> Coming {
        let (pieces, queue) = mpsc::unbounded_channel();
        let mut streams = self.streams();
        if !streams.cut {
            streams.coming.insert((id, channel), pieces);
        }
        drop(streams);
        Coming { wire: self.clone(), key: (id, channel), queue }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Leaving {
    wire: Arc<Wire>,
    key: Key,
    leave: Arc<Semaphore>,
    closed: CancellationToken,
    /// True while there is nothing to read; closed when all is sent.
    idle: watch::Sender<bool>,
}

impl Leaving {
    /// To wait until what was said so far has left ([`said_all`]).
    pub fn idle(&self) -> watch::Receiver<bool> {
        self.idle.subscribe()
    }

    /// Sends all that there is to read, until the other end does not want it any more.
    pub async fn carry(self, mut reader: impl AsyncRead + Unpin) {
        let (id, channel) = self.key;
        let mut piece = vec![0; PIECE];
        let sent = async {
            // A stream that breaks off is over.
            while let Ok(count @ 1..) = async {
                self.idle.send_replace(true);
                reader.read(&mut piece).await
            }
            .await
            {
                self.idle.send_replace(false);
                let wanted = u32::try_from(count).unwrap_or(u32::MAX);
                let Ok(leave) = self.leave.acquire_many(wanted).await else { return };
                leave.forget();
                self.wire.send(Frame::of_stream(id, Tag::Data, channel, piece[..count].to_vec()));
            }
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => {}
            () = sent => {}
        }
        self.wire.send(Frame::of_stream(id, Tag::End, channel, Vec::new()));
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.wire.streams().leaving.remove(&self.key);
    }
}

/// Returns when a stream is over, or all that was in it is sent and nothing more comes for a moment. One that a process
/// left behind keeps busy is waited for no longer than what was in it before can take: a terminal gives 4 KB at a time.
pub async fn said_all(mut idle: watch::Receiver<bool>) {
    for _ in 0..MOST_READS {
        if idle.wait_for(|idle| *idle).await.is_err() {
            return;
        }
        match tokio::time::timeout(SILENCE, idle.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

pub struct Coming {
    wire: Arc<Wire>,
    key: Key,
    queue: mpsc::UnboundedReceiver<Piece>,
}

impl Coming {
    /// Writes all that comes, and gives the writer back.
    ///
    /// # Errors
    /// The connection broke before the stream's end, or the writer takes no more, which the other end is told.
    pub async fn carry<W: AsyncWrite + Unpin>(mut self, mut writer: W) -> std::io::Result<W> {
        let (id, channel) = self.key;
        loop {
            match self.queue.recv().await {
                None => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                Some(Piece::End) => return Ok(writer),
                Some(Piece::Data(data)) => {
                    let written = async {
                        writer.write_all(&data).await?;
                        writer.flush().await
                    };
                    if let Err(error) = written.await {
                        self.wire.send(Frame::of_stream(id, Tag::Close, channel, Vec::new()));
                        return Err(error);
                    }
                    let credit = Frame::json(id, Tag::Credit, &data.len());
                    self.wire.send(Frame { channel, ..credit });
                }
            }
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.wire.streams().coming.remove(&self.key);
    }
}

/// Writes frames until nobody can send any more.
///
/// # Errors
/// The connection is lost.
pub async fn write_frames(
    mut queue: mpsc::UnboundedReceiver<Frame>,
    output: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut output = BufWriter::with_capacity(PIECE, output);
    while let Some(frame) = queue.recv().await {
        frame.write(&mut output).await?;
        if queue.is_empty() {
            output.flush().await?;
        }
    }
    output.flush().await
}
