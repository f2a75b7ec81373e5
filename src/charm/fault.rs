//! Why a script ended, and where: the frames of the charm's own source, structured before Lua's text of them is made.

use std::fmt;

use mlua::{Error, Lua, Value};

use super::prompt::CHUNK;

/// One level of a traceback: a line of the charm or of the standard library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Path inside the charm's folder, or `@std/name`.
    pub file: String,
    pub line: usize,
    pub function: Option<String>,
}

impl Frame {
    /// Whether it is the charm's own source rather than the standard library's.
    pub fn in_charm(&self) -> bool {
        !self.file.starts_with('@')
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        match &self.function {
            Some(function) => write!(f, " in {function}"),
            None => Ok(()),
        }
    }
}

const MAX_FRAMES: usize = 32;
/// Longest message that is kept of an error, in bytes.
const MAX_MESSAGE: usize = 4096;

/// The stack as the script's author knows it, innermost first; frames of the host are left out.
pub fn frames(lua: &Lua) -> Vec<Frame> {
    let mut found = Vec::new();
    for level in 0..MAX_FRAMES * 2 {
        let frame = lua.inspect_stack(level, |debug| {
            let source = debug.source().source?;
            let file = source.strip_prefix('@')?.to_owned();
            let function = debug.names().name.map(|name| name.into_owned());
            Some(Frame { file, line: debug.current_line()?, function })
        });
        match frame {
            Some(Some(frame)) => found.push(frame),
            Some(None) => {}
            None => break,
        }
        if found.len() == MAX_FRAMES {
            break;
        }
    }
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    Busy,
    Memory,
}

/// Raised by the interrupt; no script can keep it caught.
#[derive(Clone, Debug)]
pub struct Stop {
    pub reason: StopReason,
    pub frames: Vec<Frame>,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            StopReason::Busy => "used too much time without a call to the machine",
            StopReason::Memory => "used too much memory",
        })
    }
}

impl std::error::Error for Stop {}

/// What ended a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A source file does not parse.
    Syntax,
    /// The script raised an error.
    Raised,
    /// Too long without a call to the machine.
    Busy,
    /// Too long in all.
    TooLong,
    Memory,
    /// The host could not set the VM up.
    Internal,
}

/// An error of a script with its position, as carried through Lua.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub message: String,
    /// Innermost first.
    pub frames: Vec<Frame>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    pub fn internal(error: &Error) -> Self {
        Fault { kind: FaultKind::Internal, message: first_line(error), frames: vec![] }
    }

    /// Reads what a script raised, in the `xpcall` handler, where the stack still stands. Script code (`__tostring`)
    /// is never called.
    pub fn capture(lua: &Lua, raised: &Value) -> Self {
        let memory = |error: &Error| matches!(error, Error::MemoryError(_));
        let (kind, message) = match raised {
            Value::Error(error) if memory(error) => (FaultKind::Memory, "not enough memory".to_owned()),
            Value::Error(error) => (FaultKind::Raised, first_line(error)),
            Value::String(text) if text.as_bytes() == b"not enough memory".as_slice() => {
                (FaultKind::Memory, "not enough memory".to_owned())
            }
            Value::String(text) => (FaultKind::Raised, text.to_string_lossy()),
            Value::Table(table) => match table.raw_get("message") {
                Ok(Value::String(text)) => (FaultKind::Raised, text.to_string_lossy()),
                _ => (FaultKind::Raised, "a table without a text in `message` was raised as an error".to_owned()),
            },
            other => (FaultKind::Raised, format!("a {} was raised as an error", other.type_name())),
        };
        let mut frames = frames(lua);
        let mut message = cut(&message, MAX_MESSAGE).to_owned();
        if let Some((position, rest)) = split_position(&message) {
            // The position that Lua put before the message tells better than the stack where it was first raised.
            if frames.first().is_none_or(|frame| frame.file != position.file || frame.line != position.line) {
                frames.retain(|frame| frame.file != position.file || frame.line != position.line);
                frames.insert(0, position);
            }
            message = rest;
        }
        Fault { kind, message, frames }
    }

    /// Where the charm's author should look: the innermost line of the charm's own source.
    pub fn at(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.in_charm()).or(self.frames.first())
    }
}

fn first_line(error: &Error) -> String {
    let error = match error {
        Error::CallbackError { cause, .. } => cause,
        other => other,
    };
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The longest start of `text` that has at most `limit` bytes and ends between characters.
pub fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// Splits `lib/x.lua:12: text`, as Lua's `error` writes it.
pub fn split_position(message: &str) -> Option<(Frame, String)> {
    let (file, rest) = message.split_once(':')?;
    let (line, rest) = rest.split_once(": ")?;
    let known = file == CHUNK || file.starts_with("@std/") || file.ends_with(".lua") || file.ends_with(".luau");
    let line = line.parse().ok()?;
    known.then(|| (Frame { file: file.to_owned(), line, function: None }, rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_from_a_text_with_colons() {
        let (frame, rest) = split_position("lib/a.lua:12: x: y").unwrap();
        assert_eq!((frame.to_string(), rest.as_str()), ("lib/a.lua:12".into(), "x: y"));
        assert!(split_position("ERROR 1045: no").is_none());
        assert!(split_position("a.lua:twelve: no").is_none());
    }
}
