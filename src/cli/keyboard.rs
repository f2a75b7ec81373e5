//! Where the lines of a session come from: a terminal, where each is asked for and can be edited, or a pipe, whose
//! lines come as they are.
//!
//! Lines may hold passwords: their history is in memory and ends with the process.

use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::sync::mpsc as orders;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::{mpsc, oneshot};

use super::error::Failure;
use super::terminal::RawMode;
use crate::api::Frame;

const CHUNK: usize = 4 << 10;

/// How long the thread may take until the keys are given.
const PATIENCE: Duration = Duration::from_secs(1);

/// Prints above the line that is being edited.
pub type Printer = Box<dyn ExternalPrinter + Send>;

enum Order {
    Line(String),
    /// Every key goes to the other side, until the pipe can be read. It is said when it is so.
    Keys(OwnedFd, oneshot::Sender<()>),
}

/// A terminal. A read of it cannot be given up, so a thread does it, which ends with the process.
pub struct Keyboard {
    orders: orders::Sender<Order>,
    /// Closing it ends the keys' way to the other side.
    keys: Option<OwnedFd>,
}

impl Keyboard {
    /// What is typed goes to `frames`.
    pub async fn start(frames: mpsc::Sender<Frame>) -> Result<(Self, Printer), Failure> {
        let (sender, orders) = orders::channel();
        let (ready, opened) = oneshot::channel();
        thread::spawn(move || {
            let editor = DefaultEditor::new();
            let made = editor.and_then(|mut editor| {
                let printer = editor.create_external_printer()?;
                Ok((editor, printer))
            });
            match made {
                // Whoever waits for it has gone, and so will this.
                Err(error) => drop(ready.send(Err(error.to_string()))),
                Ok((editor, printer)) => {
                    let _ = ready.send(Ok(Box::new(printer) as Printer));
                    obey(editor, &orders, &frames);
                }
            }
        });
        match opened.await {
            Ok(Ok(printer)) => Ok((Self { orders: sender, keys: None }, printer)),
            Ok(Err(error)) => Err(Failure::failed(format!("the terminal cannot be used: {error}"))),
            Err(_) => Err(Failure::failed("the terminal cannot be used")),
        }
    }

    pub fn ask(&self, prompt: String) {
        // A thread that has ended was asked for the last time: the session ends.
        let _ = self.orders.send(Order::Line(prompt));
    }

    /// Every key goes to the other side as it is, from when this returns, or not any more.
    pub async fn give_keys(&mut self, give: bool) -> Result<(), Failure> {
        self.keys = None;
        if give {
            let (until, keys) = pipe_with(PipeFlags::CLOEXEC)
                .map_err(|error| Failure::io("the terminal cannot be used", &error.into()))?;
            self.keys = Some(keys);
            let (ready, given) = oneshot::channel();
            // As above.
            let _ = self.orders.send(Order::Keys(until, ready));
            // Before what the shell says is shown: who answers it with Ctrl-C means the shell. The bound is for a thread
            // that cannot pass on what was pasted, because this is who would take it.
            let _ = tokio::time::timeout(PATIENCE, given).await;
        }
        Ok(())
    }
}

fn obey(mut editor: DefaultEditor, orders: &orders::Receiver<Order>, frames: &mpsc::Sender<Frame>) {
    for order in orders {
        let sent = match order {
            Order::Line(prompt) => {
                let typed = match editor.readline(&prompt) {
                    Ok(line) => {
                        // Only memory could refuse it.
                        let _ = editor.add_history_entry(&line);
                        Frame::Line(line)
                    }
                    Err(ReadlineError::Interrupted) => Frame::Interrupt,
                    Err(_) => Frame::Stdin(Vec::new()),
                };
                frames.blocking_send(typed).is_ok()
            }
            Order::Keys(until, ready) => keys(&until, ready, frames),
        };
        if !sent {
            return;
        }
    }
}

/// False when nobody takes the keys any more.
fn keys(until: &OwnedFd, ready: oneshot::Sender<()>, frames: &mpsc::Sender<Frame>) -> bool {
    let Ok(_raw) = RawMode::enter() else { return false };
    // Who gave up waiting goes on without.
    let _ = ready.send(());
    let stdin = io::stdin();
    let mut buffer = [0; CHUNK];
    loop {
        let mut awaited = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(until, PollFlags::IN)];
        match poll(&mut awaited, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
            Ok(_) => {}
        }
        if !awaited[1].revents().is_empty() {
            return true;
        }
        // Not through `stdin`'s own buffer: what it kept would be missing from the next line.
        match rustix::io::read(&stdin, &mut buffer) {
            Ok(count) if count > 0 => {
                if frames.blocking_send(Frame::Stdin(buffer[..count].to_vec())).is_err() {
                    return false;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            _ => return false,
        }
    }
}

/// The lines of a pipe, and its end.
pub fn pipe(frames: mpsc::Sender<Frame>) {
    thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
            if frames.blocking_send(Frame::Line(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
        // Nobody is there any more to hear of the end.
        let _ = frames.blocking_send(Frame::Stdin(Vec::new()));
    });
}
