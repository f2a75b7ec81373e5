//! Values into text: tables for people, YAML and JSON for programs.

pub mod log;
pub mod status;
pub mod table;

use serde::Serialize;

use super::error::Failure;
use super::output::Output;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Yaml,
    Json,
    Tabular,
}

impl Format {
    /// What is meant when nothing was asked for: a table for a person, YAML for a program.
    pub fn choose(asked: Option<Self>, output: &Output) -> Self {
        asked.unwrap_or(if output.stdout_is_terminal { Self::Tabular } else { Self::Yaml })
    }
}

/// For answers that have no table.
pub fn structured(asked: Option<Format>, value: &impl Serialize) -> Result<String, Failure> {
    match asked {
        Some(Format::Tabular) => {
            Err(Failure::usage("this command has no tabular format").hint("--format yaml or json"))
        }
        Some(Format::Json) => json(value),
        Some(Format::Yaml) | None => yaml(value),
    }
}

pub fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    Ok(text + "\n")
}

pub fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_yaml::to_string(value).map_err(|error| Failure::failed(format!("cannot write YAML: {error}")))
}
