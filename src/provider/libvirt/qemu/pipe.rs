//! A libvirt stream as a pair of asynchronous streams.
//!
//! libvirt's streams block, and its event loop would be one for the whole process; so each direction has a thread. They
//! end with the stream, or when their other end is dropped.

use std::io::{Error, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::bytes::Bytes;
use tokio_util::io::StreamReader;
use tokio_util::sync::PollSender;
use virt::stream::Stream;

use super::way::Wire;

/// Pieces under way in one direction.
const QUEUE: usize = 8;

const PIECE: usize = 64 * 1024;

/// Gives the opened stream up when nobody has either end of it any more.
struct Abort(Arc<Stream>);

impl Drop for Abort {
    fn drop(&mut self) {
        // SAFETY: the stream is alive as long as `self.0`; aborting one that has ended is refused and does nothing.
        unsafe { virt_sys::virStreamAbort(self.0.as_ptr()) };
    }
}

/// # Errors
/// If the host gives no more threads.
pub fn wire(stream: &Arc<Stream>) -> Result<Wire> {
    let (received, to_read) = mpsc::channel(QUEUE);
    let (to_send, written) = mpsc::channel(QUEUE);
    let (from, to) = (stream.clone(), stream.clone());
    std::thread::Builder::new().name("libvirt-in".into()).spawn(move || receive(&from, &received))?;
    std::thread::Builder::new().name("libvirt-out".into()).spawn(move || send(&to, written))?;
    let abort = Arc::new(Abort(stream.clone()));
    let output = Half { half: StreamReader::new(ReceiverStream::new(to_read)), _abort: abort.clone() };
    Ok(Wire { input: Box::new(Input { sender: PollSender::new(to_send), _abort: abort }), output: Box::new(output) })
}

fn receive(stream: &Stream, received: &mpsc::Sender<Result<Bytes>>) {
    let mut piece = vec![0; PIECE];
    loop {
        match stream.recv(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                if received.blocking_send(Ok(Bytes::copy_from_slice(&piece[..count]))).is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = received.blocking_send(Err(Error::other(error.message().to_owned())));
                return;
            }
        }
    }
}

fn send(stream: &Stream, mut written: mpsc::Receiver<Bytes>) {
    while let Some(mut bytes) = written.blocking_recv() {
        while !bytes.is_empty() {
            match stream.send(&bytes) {
                Ok(count) => drop(bytes.split_to(count)),
                Err(_) => return,
            }
        }
    }
}

struct Half<R> {
    half: R,
    _abort: Arc<Abort>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Half<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.half).poll_read(cx, buf)
    }
}

struct Input {
    sender: PollSender<Bytes>,
    _abort: Arc<Abort>,
}

fn gone<T>(_: T) -> Error {
    std::io::ErrorKind::BrokenPipe.into()
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.sender.poll_reserve(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(reserved) => {
                reserved.map_err(gone)?;
                let piece = &bytes[..bytes.len().min(PIECE)];
                self.sender.send_item(Bytes::copy_from_slice(piece)).map_err(gone)?;
                Poll::Ready(Ok(piece.len()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.sender.close();
        Poll::Ready(Ok(()))
    }
}
