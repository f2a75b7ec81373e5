//! `action do`

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::ended;
use crate::api::{ActionTask, Client, RunAction as Request, ShowAction};
use crate::cli::commands::set::pairs;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::render::structured;
use crate::cli::session::{Session, block_on};
use crate::cli::terminal::Interrupts;
use crate::cli::values::{Values, seconds, words};
use crate::cli::yaml;

/// Have a unit do one of the actions of its charm
///
/// Returns at once with the action's id. With --wait it shows the results, and exits with 1 if the action fails.
#[derive(Debug, clap::Args)]
pub struct RunAction {
    /// For example `mysql/0`
    unit: String,
    /// For example `backup`
    action: String,
    /// Parameters, e.g. `database=wiki`
    #[arg(value_name = "KEY=VALUE")]
    values: Vec<String>,
    /// A YAML file with parameters; what is typed wins
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// End the action after so long (30s, 5m, 1h) in place of half an hour
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    timeout: Option<u64>,
    #[command(flatten)]
    wait: WaitOption,
}

impl RunAction {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let mut params: Values = self.params.as_deref().map(yaml::read).transpose()?.unwrap_or_default();
        params.extend(pairs(&self.values)?);
        let command = words("action do", [&self.unit, &self.action].into_iter().chain(params.keys()));
        let request = Request { unit: self.unit, action: self.action, params, timeout: self.timeout };
        let settings = session.settings()?;
        block_on(async {
            let client = Client::connect(&settings).await?.for_command(session.named(&command));
            let queued = client.call(&request).await?;
            let Some(timeout) = self.wait.timeout() else {
                let text = structured(session.format, &json!({ "Action queued with id": queued.id }))?;
                session.output.data(&text)?;
                return Ok(DONE);
            };
            session.output.note(&format!("Action queued with id: {}", queued.id));
            let task = wait_for(session, &client, (queued.id.to_string(), timeout)).await?;
            ended(session, &task)
        })
    }
}

/// Tells what the action says until it is over, the time is, or the operator has seen enough.
pub async fn wait_for(
    session: &Session<'_>,
    client: &Client,
    (id, timeout): (String, Option<u64>),
) -> Result<ActionTask, Failure> {
    let begin = Instant::now();
    let mut after = 0;
    let mut interrupts = Interrupts::listen()?;
    loop {
        let left = timeout.map(|seconds| seconds.saturating_sub(begin.elapsed().as_secs()));
        let request = ShowAction { id: id.clone(), wait: true, timeout: left, after: Some(after) };
        let mut task = tokio::select! {
            task = client.call(&request) => task?,
            () = interrupts.next() => {
                session.output.note(&format!("interrupted: the action goes on, see `encanto action show {id}`"));
                return Err(Failure::interrupted());
            }
        };
        let said = std::mem::take(&mut task.log);
        after = said.last().map_or(after, |line| line.sequence);
        said.iter().for_each(|line| session.output.note(&line.message));
        if task.is_over() || said.is_empty() || left == Some(0) {
            return Ok(task);
        }
    }
}
