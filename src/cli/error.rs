//! How a command ends when it does not end well: one line, details, what to type next, and an exit code.

use std::io;

use super::output::Output;
use crate::api::ClientError;

/// The exit code of a command that did what it should, or the reason why not.
pub type Outcome = Result<u8, Failure>;

pub const DONE: u8 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Failed,
    Usage,
    Interrupted,
    /// Whoever read our output has seen enough: success.
    ClosedPipe,
}

#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    details: Vec<String>,
    hints: Vec<String>,
    /// Shown with `--debug`.
    causes: Vec<String>,
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Vec::new(), hints: Vec::new(), causes: Vec::new() }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Something that the operating system refused, e.g. `cannot read "x"`.
    pub fn io(intent: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::failed(format!("{intent}: {}", system_words(&error.to_string())))
    }

    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Kind::ClosedPipe, "closed pipe"),
            _ => Self::io("cannot write the output", error),
        }
    }

    /// What the host reported; its chain is joined into the one line.
    pub fn host(error: &anyhow::Error) -> Self {
        Self::failed(error.chain().map(|cause| system_words(&cause.to_string())).collect::<Vec<_>>().join(": "))
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Interrupted => 130,
            Kind::ClosedPipe => 0,
        }
    }

    pub fn print(&self, output: &Output) {
        if matches!(self.kind, Kind::ClosedPipe | Kind::Interrupted) {
            return;
        }
        output.error(&self.message);
        for detail in &self.details {
            output.detail(detail);
        }
        for hint in &self.hints {
            output.hint(hint);
        }
        for cause in &self.causes {
            output.debug(&format!("caused by: {cause}"));
        }
    }
}

/// Rust adds a number to what the system said; nobody needs it.
fn system_words(text: &str) -> String {
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text.to_owned(),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { details: error.details(), hints: error.hints(), causes, ..Self::failed(error.to_string()) }
    }
}
