//! `debug-hooks`: the operator in the place of a unit's hooks.

use std::io::{self, IsTerminal};

use futures_util::{SinkExt, StreamExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::api::client::ExecStream;
use crate::api::{Client, DebugHooks as Request, Frame};
use crate::cli::account::Account;
use crate::cli::error::{Failure, Outcome};
use crate::cli::keyboard::{self, Keyboard, Printer};
use crate::cli::session::{Session, block_on};
use crate::cli::terminal::{self, AsItWas, Interrupts};

/// Take the hooks of a unit into your own hands
///
/// While it runs, a hook of the unit that becomes due waits for you, with a Lua prompt that has `unit`, `relation` and
/// `hook()`, the charm's own function, and with a shell in the machine. `.commit`, `.fail` and `.run` say what comes of
/// the hook, `.help` lists the rest. A failed hook is tried again at once. When you leave, hooks run as usual. Lines of
/// a pipe are read as if they were typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto debug-hooks mysql/0
  encanto debug-hooks --shell mediawiki/0 install db-relation-changed
  printf 'hook()\\n.commit\\n' | encanto debug-hooks mysql/0 config-changed")]
pub struct DebugHooks {
    /// A unit (`mysql/0`)
    unit: String,
    /// Hooks; all that the charm declares if there is none
    #[arg(value_name = "HOOK")]
    hooks: Vec<String>,
    /// Begin each hook with a shell in the machine
    #[arg(long)]
    shell: bool,
    /// Begin each hook with the Lua prompt, which is the default
    #[arg(long, conflicts_with = "shell")]
    lua: bool,
}

impl DebugHooks {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        let on_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let command = format!("debug-hooks {}", [&[self.unit.clone()][..], &self.hooks[..]].concat().join(" "));
        let request = Request {
            unit: self.unit,
            hooks: self.hooks,
            shell: self.shell,
            terminal: on_terminal.then(terminal::size),
            term: std::env::var("TERM").ok().filter(|_| on_terminal),
            who: format!("{} (process {})", Account::invoking().name, std::process::id()),
        };
        block_on(async {
            let client = Client::connect(&settings).await?.for_command(session.named(&command));
            let stream = client.debug_hooks(&request).await?;
            let _restored = AsItWas::keep();
            let (typed, frames) = mpsc::channel(16);
            let screen = if on_terminal {
                Screen { keyboard: Some(Keyboard::start(typed).await?), asked: false }
            } else {
                keyboard::pipe(typed);
                Screen { keyboard: None, asked: false }
            };
            talk(stream, frames, screen).await
        })
    }
}

/// What is shown, and the keyboard, if a person sits at it.
struct Screen {
    keyboard: Option<(Keyboard, Printer)>,
    /// A line is being typed.
    asked: bool,
}

impl Screen {
    fn show(&mut self, bytes: &[u8], to: impl io::Write) -> Result<(), Failure> {
        match &mut self.keyboard {
            Some((_, printer)) if self.asked => printer
                .print(String::from_utf8_lossy(bytes).into_owned())
                .map_err(|error| Failure::failed(format!("cannot write to the terminal: {error}"))),
            _ => terminal::pass_on(bytes, to),
        }
    }

    /// What the controller said; an outcome if it was the last.
    async fn take(&mut self, frame: Frame) -> Result<Option<u8>, Failure> {
        match frame {
            Frame::Stdout(bytes) => self.show(&bytes, io::stdout().lock())?,
            Frame::Stderr(bytes) => self.show(&bytes, io::stderr().lock())?,
            Frame::Prompt(prompt) => {
                if let Some((keyboard, _)) = &self.keyboard {
                    self.asked = true;
                    keyboard.ask(prompt);
                }
            }
            Frame::Raw(on) => {
                if let Some((keyboard, _)) = &mut self.keyboard {
                    keyboard.give_keys(on).await?;
                }
            }
            Frame::Exit(code) => return Ok(Some(terminal::exit_code(code))),
            Frame::Failed(why) => return Err(Failure::failed(why)),
            Frame::Stdin(_) | Frame::Resize(..) | Frame::Line(_) | Frame::Interrupt => {}
        }
        Ok(None)
    }
}

async fn talk(stream: ExecStream, mut typed: mpsc::Receiver<Frame>, mut screen: Screen) -> Outcome {
    let (mut send, mut receive) = stream.split();
    let mut resized =
        signal(SignalKind::window_change()).map_err(|error| Failure::io("cannot watch the terminal", &error))?;
    let mut interrupts = Interrupts::listen()?;
    // Interrupts that the controller has not answered.
    let mut impatience = 0;
    loop {
        tokio::select! {
            biased;
            frame = receive.next() => {
                impatience = 0;
                match frame {
                    Some(Ok(frame)) => {
                        // A change while a line was typed was the editor's to hear of.
                        let size = (frame == Frame::Raw(true)).then(terminal::size);
                        if let Some(code) = screen.take(frame).await? {
                            return Ok(code);
                        }
                        if let Some((columns, rows)) = size {
                            let _ = send.send(Frame::Resize(columns, rows)).await;
                        }
                    }
                    Some(Err(error)) if error.kind() != io::ErrorKind::ConnectionReset => {
                        return Err(Failure::io("the connection to the controller broke", &error));
                    }
                    // A controller that was killed has not said goodbye.
                    Some(Err(_)) | None => {
                        return Err(Failure::failed("the controller has ended: a hook that waited is due again when it runs")
                            .hint("encanto controller start"));
                    }
                }
            }
            Some(frame) = typed.recv() => {
                screen.asked = false;
                // An answer that cannot be sent: the end of the stream says why.
                let _ = send.send(frame).await;
            }
            Some(()) = resized.recv(), if screen.keyboard.is_some() => {
                let (columns, rows) = terminal::size();
                let _ = send.send(Frame::Resize(columns, rows)).await;
            }
            () = interrupts.next() => {
                impatience += 1;
                if impatience > 1 {
                    return Err(Failure::interrupted());
                }
                let _ = send.send(Frame::Interrupt).await;
            }
        }
    }
}
