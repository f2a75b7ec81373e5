//! `switch`: shows or sets the current environment.

use crate::cli::environments::{Home, unknown};
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::session::Session;

/// Show the current environment, or change it
#[derive(Debug, clap::Args)]
pub struct Switch {
    /// The environment that is to be the current one
    name: Option<String>,
    /// List all environments
    #[arg(short, long)]
    list: bool,
}

impl Switch {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let home = Home::find();
        let environments = home.environments()?;
        let variable = std::env::var("ENCANTO_ENV").ok().filter(|name| !name.is_empty());
        let current = variable.clone().map_or_else(|| home.current(&environments), Ok);
        let mut text = match (self.name, variable) {
            (Some(_), Some(variable)) => {
                return Err(Failure::failed(format!(
                    "cannot switch when ENCANTO_ENV is overriding the environment (set to \"{variable}\")"
                ))
                .hint("unset ENCANTO_ENV"));
            }
            (Some(name), None) if !environments.contains(&name) => return Err(unknown(&name)),
            (Some(name), None) => {
                home.set_current(&name)?;
                match current {
                    Ok(old) => format!("Changed default environment from \"{old}\" to \"{name}\"\n"),
                    Err(_) => format!("Changed default environment to \"{name}\"\n"),
                }
            }
            (None, _) if self.list && current.is_err() => String::new(),
            (None, _) => format!("Current environment: \"{}\"\n", current?),
        };
        if self.list {
            text.push_str("\nEnvironments:\n");
            text.extend(environments.names().map(|name| format!("\t{name}\n")));
        }
        session.output.data(&text)?;
        Ok(DONE)
    }
}
