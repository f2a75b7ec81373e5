//! Short commands of our own inside a machine, by its guest agent alone.

use std::time::Duration;

use super::agent::Agent;
use crate::provider::ProviderError;

/// Between two looks; the agent has nothing by which it could tell by itself.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Runs a command to its end.
///
/// # Errors
/// It failed, with what it said.
pub async fn run_inside<S: AsRef<str>>(agent: &Agent<'_>, argv: &[S], input: &[u8]) -> Result<(), ProviderError> {
    let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
    let number = agent.start(&argv, input).await?;
    let mut pause = FIRST_PAUSE;
    loop {
        match agent.outcome(number).await? {
            None => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Some(captured) if captured.code == 0 => return Ok(()),
            Some(captured) => {
                return Err(ProviderError::Command {
                    command: argv.first().copied().unwrap_or_default().to_owned(),
                    status: format!("exit status {}", captured.code),
                    output: captured.words(),
                });
            }
        }
    }
}
