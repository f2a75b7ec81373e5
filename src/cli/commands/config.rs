//! `config`: the modern spelling of `get`, `set` and `unset` in one.

use std::path::PathBuf;

use super::{get, set, unset};
use crate::cli::config_file;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;

/// Show or change settings of a service (get, set and unset in one)
#[derive(Debug, clap::Args)]
pub struct Config {
    /// The service, e.g. `mysql`
    service: String,
    /// A setting to show, or settings to change
    #[arg(value_name = "KEY | KEY=VALUE")]
    values: Vec<String>,
    /// A YAML file with settings
    #[arg(long, value_name = "FILE", conflicts_with = "values")]
    file: Option<PathBuf>,
    /// Give these settings their defaults again
    #[arg(long, value_name = "KEY[,KEY]", value_delimiter = ',', conflicts_with_all = ["values", "file"])]
    reset: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Config {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        if !self.reset.is_empty() {
            return unset::reset(session, self.service, self.reset, &self.wait);
        }
        match (self.file, &self.values[..]) {
            (Some(file), _) => {
                let values = config_file::read(&file, Some(&self.service))?;
                set::change(session, self.service, values, &self.wait)
            }
            (None, []) => get::show(session, self.service, None),
            (None, [key]) if !key.contains('=') => get::show(session, self.service, Some(key)),
            (None, values) if values.iter().all(|value| value.contains('=')) => {
                set::change(session, self.service, set::pairs(values)?, &self.wait)
            }
            _ => Err(Failure::usage("one setting can be shown, or several changed, but not both")),
        }
    }
}
