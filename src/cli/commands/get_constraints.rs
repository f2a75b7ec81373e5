//! `get-constraints`: what new machines must be like.

use crate::api::GetConstraints as Request;
use crate::cli::error::{DONE, Outcome};
use crate::cli::render::structured;
use crate::cli::session::Session;

/// Show what new machines must be like
#[derive(Debug, clap::Args)]
pub struct GetConstraints {
    /// Without one, what holds for the whole environment
    service: Option<String>,
}

impl GetConstraints {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let answer = session.ask("get-constraints", &Request { service: self.service })?;
        let text = match session.format {
            Some(_) => structured(session.format, &answer.constraints)?,
            None if answer.constraints.is_empty() => String::new(),
            None => {
                let pairs = answer.constraints.iter().map(|(key, value)| format!("{key}={value}"));
                pairs.collect::<Vec<_>>().join(" ") + "\n"
            }
        };
        session.output.data(&text)?;
        Ok(DONE)
    }
}
