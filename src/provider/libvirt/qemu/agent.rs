//! Debian's guest agent: what is asked of it, and how its answers read.
//!
//! It captures what a command says only at its end and at most 16 MB, takes no input while a command runs, and ends nothing
//! when its client is gone. So it is used for little: to bring our own helper in, and for what needs none.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::way::Way;
use crate::provider::{InstanceName, ProviderError};

/// Between two looks; the agent has nothing by which it could tell by itself.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The guest agent of one machine.
pub struct Agent<'a> {
    way: &'a dyn Way,
}

/// How a command of the agent's ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Captured {
    /// 128 and the number if it was ended by a signal.
    pub code: i64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Captured {
    /// As an error of what is called so.
    pub fn failed(&self, command: &str) -> ProviderError {
        let said = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        ProviderError::Command {
            command: command.to_owned(),
            status: format!("exit status {}", self.code),
            output: String::from_utf8_lossy(said).trim().to_owned(),
        }
    }
}

impl<'a> Agent<'a> {
    pub fn new(way: &'a dyn Way) -> Self {
        Self { way }
    }

    fn name(&self) -> InstanceName {
        self.way.name().clone()
    }

    /// Waits until the agent answers.
    ///
    /// # Errors
    /// [`ProviderError::NotRunning`] if the machine has ended meanwhile; [`ProviderError::NotReady`] with what the agent's
    /// absence was told by.
    pub async fn wait(&self, limit: Duration) -> Result<(), ProviderError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = self.way.ask(json!({"execute": "guest-ping"})).await else { return Ok(()) };
            if !self.way.is_running().await? {
                return Err(ProviderError::NotRunning { name: self.name() });
            }
            if begun.elapsed() > limit {
                let (seconds, output) = (limit.as_secs(), error.to_string());
                return Err(ProviderError::NotReady { name: self.name(), seconds, output });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Starts a command with this input; its number is what [`Agent::ended`] takes.
    pub async fn start(&self, argv: &[&str], input: &[u8]) -> Result<u64, ProviderError> {
        let (path, arguments) = argv.split_first().unwrap_or((&"", &[]));
        let answer = self.way.ask(json!({"execute": "guest-exec", "arguments": {
            "path": path, "arg": arguments, "input-data": base64(input), "capture-output": true,
        }}));
        answer.await?.get("pid").and_then(Value::as_u64).ok_or_else(|| self.nonsense("guest-exec"))
    }

    /// How the command ended; `None` if it runs.
    async fn outcome(&self, number: u64) -> Result<Option<Captured>, ProviderError> {
        let answer = self.way.ask(json!({"execute": "guest-exec-status", "arguments": {"pid": number}})).await?;
        if answer.get("exited").and_then(Value::as_bool) != Some(true) {
            return Ok(None);
        }
        let number = |key: &str| answer.get(key).and_then(Value::as_i64);
        let code = number("exitcode").or_else(|| number("signal").map(|signal| 128 + signal));
        let data = |key: &str| answer.get(key).and_then(Value::as_str).map_or(Some(Vec::new()), from_base64);
        match (code, data("out-data"), data("err-data")) {
            (Some(code), Some(stdout), Some(stderr)) => Ok(Some(Captured { code, stdout, stderr })),
            _ => Err(self.nonsense("guest-exec-status")),
        }
    }

    /// How the command ended, when it has.
    pub async fn ended(&self, number: u64) -> Result<Captured, ProviderError> {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(captured) = self.outcome(number).await? {
                return Ok(captured);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Has everything written to disk and holds writing up, until [`Agent::thaw`].
    pub async fn freeze(&self) -> Result<(), ProviderError> {
        self.way.ask(json!({"execute": "guest-fsfreeze-freeze"})).await.map(drop)
    }

    pub async fn thaw(&self) -> Result<(), ProviderError> {
        self.way.ask(json!({"execute": "guest-fsfreeze-thaw"})).await.map(drop)
    }

    fn nonsense(&self, question: &str) -> ProviderError {
        let source = std::io::Error::other(format!("the guest agent's answer to {question} makes no sense"));
        ProviderError::Enter { name: self.name(), source }
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            let value = memchr::memchr(*digit, ALPHABET)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_it_is_written() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"\xff\xfe\x00", "//4A"),
        ] {
            assert_eq!(base64(bytes), text);
            assert_eq!(from_base64(text).unwrap(), bytes);
        }
        assert_eq!(from_base64("Zm\n"), None);
    }
}
