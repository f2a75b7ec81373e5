//! `get`: the settings of a service.

use serde_json::Value;

use crate::api::GetConfig;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::render::structured;
use crate::cli::session::Session;

/// Show the settings of a service
#[derive(Debug, clap::Args)]
pub struct Get {
    /// The service, e.g. `mysql`
    service: String,
    /// Show the value of this setting only
    key: Option<String>,
}

impl Get {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        show(session, self.service, self.key.as_deref())
    }
}

pub fn show(session: &Session<'_>, service: String, key: Option<&str>) -> Outcome {
    let answer = session.ask(&format!("get {service}"), &GetConfig { service })?;
    let text = match key {
        None => structured(session.format, &answer)?,
        Some(key) => {
            let option = answer.settings.get(key).ok_or_else(|| {
                Failure::failed(format!("unknown option \"{key}\"")).hint(format!("encanto get {}", answer.service))
            })?;
            match (&option.value, session.format) {
                (None, None) => String::new(),
                (Some(Value::String(text)), None) => format!("{text}\n"),
                (value, format) => structured(format, value)?,
            }
        }
    };
    session.output.data(&text)?;
    Ok(DONE)
}
