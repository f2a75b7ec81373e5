//! `ssh`: a shell or a command inside a machine, without keys or passwords.

use std::io::{self, IsTerminal, Read};
use std::thread;

use futures_util::{SinkExt, StreamExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::api::client::ExecStream;
use crate::api::{Client, Exec, Frame};
use crate::cli::error::{Failure, Outcome};
use crate::cli::session::{Session, block_on};
use crate::cli::terminal::{self, Interrupts, RawMode};

const CHUNK: usize = 64 << 10;

/// Open a shell inside a machine, or run a command there
///
/// The words of a command are joined and read by the shell inside, as ssh does. Exits with the code of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto ssh mysql/0
  encanto ssh 3 'journalctl -b | tail'
  encanto ssh mysql/0 cat /etc/hosts > hosts")]
pub struct Ssh {
    /// A unit (`mysql/0`) or a machine (`3`); with `USER@` before it as that user, else as root
    target: String,
    /// A command and its arguments; a login shell if there is none
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Use a terminal although there is a command
    #[arg(short = 't', long)]
    tty: bool,
}

impl Ssh {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let terminal = io::stdin().is_terminal() && (self.tty || self.command.is_empty());
        let command = format!("ssh {}", self.target);
        let exec = Exec {
            target: self.target,
            argv: argv(&self.command),
            terminal: terminal.then(terminal::size),
            term: std::env::var("TERM").ok().filter(|_| terminal),
        };
        block_on(async {
            let client = Client::connect(&settings).await?.for_command(command);
            let stream = client.exec(&exec).await?;
            let raw = if terminal { RawMode::enter().ok() } else { None };
            let end = talk(stream, terminal).await;
            drop(raw);
            end
        })
    }
}

/// As `ssh` has it: one line for the shell of the other side.
fn argv(words: &[String]) -> Vec<String> {
    if words.is_empty() { Vec::new() } else { vec!["sh".to_owned(), "-c".to_owned(), words.join(" ")] }
}

/// Both directions at once: neither may hold up the other.
async fn talk(stream: ExecStream, terminal: bool) -> Outcome {
    let (mut send, mut receive) = stream.split();
    let outgoing = async move {
        let mut frames = input(terminal)?;
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
    tokio::select! {
        biased;
        end = incoming => end,
        end = outgoing => end,
        () = interrupts.next() => Err(Failure::interrupted()),
    }
}

/// What goes to the other side: what is read from stdin, and the size of the terminal when it changes.
fn input(terminal: bool) -> Result<mpsc::Receiver<Frame>, Failure> {
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
            if frames.blocking_send(Frame::Stdin(buffer[..count].to_vec())).is_err() || count == 0 {
                return;
            }
        }
    });
    Ok(receiver)
}
