//! `set`: changes the settings of a service, all or none.

use std::path::PathBuf;

use crate::api::SetConfig;
use crate::cli::config_file;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::{Values, pair, words};

/// Change settings of a service
///
/// A wrong value or an unknown key changes nothing at all.
#[derive(Debug, clap::Args)]
pub struct Set {
    /// The service, e.g. `mysql`
    service: String,
    /// Settings, e.g. `max-connections=200`
    #[arg(value_name = "KEY=VALUE")]
    values: Vec<String>,
    /// A YAML file with settings, by themselves or below the name of the service
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Set {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let values = match (&self.config, &self.values[..]) {
            (Some(_), [_, ..]) => {
                return Err(Failure::usage("cannot specify --config when using key=value arguments"));
            }
            (Some(file), []) => config_file::read(file, Some(&self.service))?,
            (None, []) => return Err(Failure::usage("no settings specified").hint("encanto set SERVICE KEY=VALUE")),
            (None, values) => pairs(values)?,
        };
        change(session, self.service, values, &self.wait)
    }
}

pub fn pairs(values: &[String]) -> Result<Values, Failure> {
    let mut read = Values::new();
    for text in values {
        let (key, value) =
            pair(text).ok_or_else(|| Failure::usage(format!("invalid option: \"{text}\"")).hint("KEY=VALUE"))?;
        if read.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!("option \"{key}\" is given twice")));
        }
    }
    Ok(read)
}

pub fn change(session: &Session<'_>, service: String, values: Values, wait: &WaitOption) -> Outcome {
    let command = words(&format!("set {service}"), values.keys());
    session.start(&command, &SetConfig { service, values }, wait.until_settled())
}
