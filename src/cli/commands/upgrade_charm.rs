//! `upgrade-charm`: a service gets another version of its charm.

use std::path::PathBuf;

use crate::api::UpgradeCharm as Request;
use crate::cli::charm_folder;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;

/// Give a service another version of its charm
///
/// Nothing is changed if the new charm does not load, or lacks an endpoint that is in use. Settings stay as far as
/// the new charm knows them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto upgrade-charm mysql
  encanto upgrade-charm hello --path ./hello --wait")]
pub struct UpgradeCharm {
    /// The service, e.g. `mysql`
    service: String,
    /// The folder of the charm; without it, the charm of that name in the repository
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Units in error too: their hooks are tried again with the new charm
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitOption,
}

impl UpgradeCharm {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let charm = self.path.as_deref().map(charm_folder::read).transpose()?;
        let command = format!("upgrade-charm {}", self.service);
        let request = Request { service: self.service, charm, force: self.force };
        session.start(&command, &request, self.wait.until_settled())
    }
}
