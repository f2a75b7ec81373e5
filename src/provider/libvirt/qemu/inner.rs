//! Short commands of our own inside a machine, by its guest agent alone.

use super::agent::Agent;
use crate::provider::ProviderError;

/// Runs a command to its end.
///
/// # Errors
/// It failed, with what it said.
pub async fn run_inside<S: AsRef<str>>(agent: &Agent<'_>, argv: &[S], input: &[u8]) -> Result<(), ProviderError> {
    let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
    let captured = agent.ended(agent.start(&argv, input).await?).await?;
    match captured.code {
        0 => Ok(()),
        _ => Err(captured.failed(argv.first().copied().unwrap_or_default())),
    }
}
