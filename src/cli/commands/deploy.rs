//! `deploy`: a charm becomes a service.

use std::path::{Path, PathBuf};

use crate::api::{CharmSource, Deploy as Request};
use crate::cli::charm_folder;
use crate::cli::config_file;
use crate::cli::error::{Failure, Outcome};
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;
use crate::cli::values::{Values, count, pair, words};

/// Deploy a charm as a new service
///
/// Nothing is deployed if its settings or anything else is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto deploy mysql
  encanto deploy mysql db --config max-connections=200 --constraints mem=1G --wait
  encanto deploy ./my-charm -n 3")]
pub struct Deploy {
    /// A charm: `mysql`, `local:bookworm/mysql`, or a folder: `./mysql`
    charm: String,
    /// What the service is to be called, if not as the charm
    #[arg(value_name = "NAME")]
    service: Option<String>,
    /// How many units
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = count, allow_negative_numbers = true)]
    num_units: u32,
    /// The machine to put it on: `3`, `lxc` or `kvm` (a new one of that kind), or `lxc:3` (a new container on it)
    #[arg(long, value_name = "SPEC")]
    to: Option<String>,
    /// A setting, or a YAML file with settings; may be repeated, the last wins
    #[arg(long, value_name = "FILE | KEY=VALUE")]
    config: Vec<String>,
    /// What its machines must have, e.g. `mem=512M cpu-cores=1`
    #[arg(long, value_name = "CONSTRAINTS")]
    constraints: Option<String>,
    /// Make its ports reachable from outside
    #[arg(long)]
    expose: bool,
    /// A folder to look the charm up in
    #[arg(long, value_name = "DIR", env = "ENCANTO_REPOSITORY", hide_env_values = true)]
    repository: Option<PathBuf>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Deploy {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let charm = self.source()?;
        let config = self.settings()?;
        let command = words(&format!("deploy {}", self.charm), &self.service);
        let request = Request {
            charm,
            service: self.service,
            units: self.num_units,
            to: self.to,
            config,
            constraints: self.constraints,
            expose: self.expose,
        };
        session.start(&command, &request, self.wait.until_settled())
    }

    fn source(&self) -> Result<CharmSource, Failure> {
        if is_path(&self.charm) {
            return charm_folder::read(Path::new(&self.charm));
        }
        match self.repository.as_deref().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(repository) => charm_folder::read(&charm_folder::look_up(repository, &self.charm)?),
            None => Ok(CharmSource::Named(self.charm.clone())),
        }
    }

    fn settings(&self) -> Result<Values, Failure> {
        let service = self.service.as_deref().unwrap_or_else(|| charm_name(&self.charm));
        let mut all = Values::new();
        for text in &self.config {
            match pair(text) {
                Some((key, value)) => {
                    all.insert(key, value);
                }
                None => all.extend(config_file::read(Path::new(text), Some(service))?),
            }
        }
        Ok(all)
    }
}

fn is_path(charm: &str) -> bool {
    matches!(charm, "." | "..") || charm.starts_with("./") || charm.starts_with("../") || charm.starts_with('/')
}

/// `cs:precise/mysql-28`, `local:mysql` and `./charms/mysql/` are all called `mysql`.
fn charm_name(charm: &str) -> &str {
    let last = charm.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(charm);
    match last.rsplit_once('-') {
        Some((name, revision)) if revision.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_charm_is_found_in_every_spelling() {
        for charm in ["mysql", "cs:precise/mysql-28", "local:mysql", "./charms/mysql/", "/x/mysql-1"] {
            assert_eq!(charm_name(charm), "mysql", "{charm}");
        }
        assert_eq!(charm_name("local:bookworm/my-charm"), "my-charm");
    }
}
