//! What `ssh` and `machine console` share: a command in a machine, and this terminal.

use std::io::{self, Read};
use std::thread;

use futures_util::{SinkExt, StreamExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::error::{DONE, Failure, Outcome};
use super::terminal::{self, Interrupts, RawMode};
use crate::api::Frame;
use crate::api::client::ExecStream;

const CHUNK: usize = 64 << 10;

/// Both directions at once: neither may hold up the other. With a terminal every key goes to the other side, but for
/// `leave`, which ends it.
pub async fn talk(stream: ExecStream, terminal: bool, leave: Option<u8>) -> Outcome {
    let raw = if terminal { RawMode::enter().ok() } else { None };
    let end = both_ways(stream, terminal, leave).await;
    drop(raw);
    end
}

async fn both_ways(stream: ExecStream, terminal: bool, leave: Option<u8>) -> Outcome {
    let (mut send, mut receive) = stream.split();
    let (leaving, left) = oneshot::channel();
    let outgoing = async move {
        let mut frames = input(terminal, leave.map(|key| (key, leaving)))?;
        while let Some(frame) = frames.recv().await {
            if send.send(frame).await.is_err() {
                break;
            }
        }
        // The other side says when it is over.
        std::future::pending::<Outcome>().await
    };
    let mut interrupts = Interrupts::listen()?;
    let incoming = async move {
        while let Some(frame) = receive.next().await {
            match frame {
                Ok(Frame::Stdout(bytes)) => terminal::pass_on(&bytes, io::stdout().lock())?,
                Ok(Frame::Stderr(bytes)) => terminal::pass_on(&bytes, io::stderr().lock())?,
                Ok(Frame::Exit(code)) => return Ok(terminal::exit_code(code)),
                Ok(Frame::Failed(why)) => return Err(Failure::failed(why)),
                Ok(_) => {}
                // A controller that was killed has not said goodbye.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(Failure::io("the connection to the controller broke", &error)),
            }
        }
        Err(Failure::failed("the controller ended the connection").hint("encanto controller status"))
    };
    let left = async {
        if left.await.is_err() {
            std::future::pending::<()>().await; // there is no such key, or stdin has ended
        }
    };
    tokio::select! {
        biased;
        end = incoming => end,
        end = outgoing => end,
        () = left => Ok(DONE),
        () = interrupts.next() => Err(Failure::interrupted()),
    }
}

/// What goes to the other side: what is read from stdin, and the size of the terminal when it changes.
fn input(terminal: bool, mut leave: Option<(u8, oneshot::Sender<()>)>) -> Result<mpsc::Receiver<Frame>, Failure> {
    let (frames, receiver) = mpsc::channel(4);
    if terminal {
        let mut resized =
            signal(SignalKind::window_change()).map_err(|error| Failure::io("cannot watch the terminal", &error))?;
        let frames = frames.clone();
        tokio::spawn(async move {
            while resized.recv().await.is_some() {
                let (columns, rows) = terminal::size();
                if frames.send(Frame::Resize(columns, rows)).await.is_err() {
                    break;
                }
            }
        });
    }
    // A thread, because a read of stdin cannot be given up; it ends with the process.
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        loop {
            // The end of stdin is told by an empty frame.
            let count = match stdin.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            let typed = &buffer[..count];
            let until = leave.as_ref().and_then(|(key, _)| typed.iter().position(|byte| byte == key));
            let meant = &typed[..until.unwrap_or(count)];
            let gone = (!meant.is_empty() || count == 0) && frames.blocking_send(Frame::Stdin(meant.to_vec())).is_err();
            if let (Some(_), Some((_, leaving))) = (until, leave.take_if(|_| until.is_some())) {
                // Whoever waits for it may have gone by itself.
                let _ = leaving.send(());
                return;
            }
            if gone || count == 0 {
                return;
            }
        }
    });
    Ok(receiver)
}
