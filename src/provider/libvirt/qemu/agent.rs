//! Debian's guest agent: what is asked of it, and how its answers read.
//!
//! It captures what a command says only at its end and at most 16 MB, takes no input while a command runs, and ends nothing
//! when its client is gone. So it is used for little: to bring our own helper in, and for what needs none.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
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
            "path": path, "arg": arguments, "input-data": BASE64_STANDARD.encode(input), "capture-output": true,
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
        let data = |key: &str| {
            answer.get(key).and_then(Value::as_str).map_or(Ok(Vec::new()), |text| BASE64_STANDARD.decode(text))
        };
        match (code, data("out-data"), data("err-data")) {
            (Some(code), Ok(stdout), Ok(stderr)) => Ok(Some(Captured { code, stdout, stderr })),
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
