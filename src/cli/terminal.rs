//! The operator's terminal while a shell inside a machine has it.

use std::io::{self, Write};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::Failure;

/// Every key goes to the other side, until this is dropped.
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Puts the terminal back as it was, whatever a thread did to it that still waits for a key.
pub struct AsItWas(Option<Termios>);

impl AsItWas {
    pub fn keep() -> Self {
        Self(tcgetattr(io::stdin()).ok())
    }
}

impl Drop for AsItWas {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Ctrl-C, heard from now on. To be made before a loop and before anything is shown: `ctrl_c()` made anew in each round
/// would miss what is typed between two, and before the first it would end the process with the terminal as it is.
pub struct Interrupts(Signal);

impl Interrupts {
    pub fn listen() -> Result<Self, Failure> {
        let signal = signal(SignalKind::interrupt());
        signal.map(Self).map_err(|error| Failure::io("cannot listen for Ctrl-C", &error))
    }

    /// Returns when there was one since the last call. May be dropped.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// What the other side said, at once.
pub fn pass_on(bytes: &[u8], mut to: impl Write) -> Result<(), Failure> {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(|error| Failure::output(&error))
}

/// Codes of processes fit; anything else is a failure all the same.
pub fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(255)
}

/// Columns and rows.
pub fn size() -> (u16, u16) {
    match tcgetwinsize(io::stdin()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}
