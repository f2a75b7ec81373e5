//! The only place that writes: data to stdout, everything else to stderr, colour where a person looks.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use super::error::Failure;

pub const RED: Style = AnsiColor::Red.on_default();
pub const GREEN: Style = AnsiColor::Green.on_default();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
pub const CYAN: Style = AnsiColor::Cyan.on_default();
pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const PLAIN: Style = Style::new();

/// How a word for a state is shown.
pub fn state_style(state: &str) -> Style {
    match state {
        "active" | "started" | "running" | "ready" | "completed" => GREEN,
        "pending" | "installed" | "maintenance" | "waiting" | "allocating" | "executing" | "dying" => YELLOW,
        "error" | "blocked" | "down" | "missing" | "failed" => RED,
        "unknown" | "stopped" | "gone" | "dead" | "cancelled" => DIM,
        _ => PLAIN,
    }
}

/// Dresses text in colour, or not.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    pub colour: bool,
}

impl Paint {
    pub fn dress(self, style: Style, text: &str) -> String {
        if self.colour && style != PLAIN && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loudness {
    Quiet,
    Normal,
    Verbose,
    Debug,
}

#[derive(Debug)]
pub struct Output {
    pub loudness: Loudness,
    /// For what goes to stdout.
    pub paint: Paint,
    /// For what goes to stderr.
    pub note_paint: Paint,
    pub stdout_is_terminal: bool,
    pub stderr_is_terminal: bool,
}

impl Output {
    pub fn new(loudness: Loudness, no_color: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let wanted = !no_color && !set("NO_COLOR") && !dumb;
        let (stdout_is_terminal, stderr_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            loudness,
            paint: Paint { colour: wanted && stdout_is_terminal },
            note_paint: Paint { colour: wanted && stderr_is_terminal },
            stdout_is_terminal,
            stderr_is_terminal,
        }
    }

    /// What the command was asked for.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
    }

    /// A line about what was done.
    pub fn note(&self, line: &str) {
        if self.loudness > Loudness::Quiet {
            self.stderr(line);
        }
    }

    pub fn verbose(&self, line: &str) {
        if self.loudness >= Loudness::Verbose {
            self.stderr(line);
        }
    }

    pub fn debug(&self, line: &str) {
        if self.loudness >= Loudness::Debug {
            self.stderr(line);
        }
    }

    pub fn error(&self, message: &str) {
        self.stderr(&format!("{} {message}", self.note_paint.dress(RED.bold(), "error:")));
    }

    pub fn detail(&self, line: &str) {
        self.stderr(&format!("  {line}"));
    }

    pub fn hint(&self, hint: &str) {
        self.stderr(&format!("{} {hint}", self.note_paint.dress(CYAN, "hint:")));
    }

    /// A closed stderr is nobody's trouble.
    fn stderr(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Text without an end of line, for a question or a picture that is drawn over.
    pub fn stderr_raw(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}
