//! Values into text: tables for people, YAML and JSON for programs.

pub mod action;
pub mod dot;
mod graph;
mod layout;
pub mod log;
pub mod machine;
pub mod record;
pub mod run;
pub mod short;
pub mod status;
pub mod svg;
pub mod table;

use serde::Serialize;

use super::error::Failure;
use super::output::Output;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Yaml,
    Json,
    Tabular,
    // Those below are of `status` only, which tells what they are.
    #[value(aliases = ["oneline", "line"])]
    Short,
    Summary,
    Dot,
    Svg,
}

impl Format {
    /// What is meant when nothing was asked for: a table for a person, YAML for a program.
    pub fn choose(asked: Option<Self>, output: &Output) -> Self {
        asked.unwrap_or(if output.stdout_is_terminal { Self::Tabular } else { Self::Yaml })
    }

    /// # Errors
    /// The format is one of `status`.
    pub fn of_table(asked: Option<Self>) -> Result<Self, Failure> {
        match asked.unwrap_or(Self::Tabular) {
            known @ (Self::Yaml | Self::Json | Self::Tabular) => Ok(known),
            other => Err(other.unknown()),
        }
    }

    /// The format is one of another command.
    pub fn unknown(self) -> Failure {
        let name = clap::ValueEnum::to_possible_value(&self);
        let name = name.map(|value| value.get_name().to_owned()).unwrap_or_default();
        Failure::usage(format!("this command has no {name} format")).hint("--format yaml or json")
    }
}

/// For answers that have no table.
pub fn structured(asked: Option<Format>, value: &impl Serialize) -> Result<String, Failure> {
    match asked {
        Some(Format::Json) => json(value),
        Some(Format::Yaml) | None => yaml(value),
        Some(other) => Err(other.unknown()),
    }
}

pub fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    Ok(text + "\n")
}

pub fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_yaml::to_string(value).map_err(|error| Failure::failed(format!("cannot write YAML: {error}")))
}
