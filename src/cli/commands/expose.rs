//! `expose`: opens the ports of a service to the world.

use crate::api::Expose as Request;
use crate::cli::error::Outcome;
use crate::cli::progress::WaitOption;
use crate::cli::session::Session;

/// Make the open ports of a service reachable from outside
///
/// Without it they can be reached from this host and from related units only.
#[derive(Debug, clap::Args)]
pub struct Expose {
    /// The service, e.g. `mysql`
    service: String,
    /// Also forward a port of this host: `8080:80` or `5353:53/udp`
    #[arg(long, value_name = "HOSTPORT:PORT", value_delimiter = ',')]
    publish: Vec<String>,
    #[command(flatten)]
    wait: WaitOption,
}

impl Expose {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let command = format!("expose {}", self.service);
        let request = Request { service: self.service, publish: self.publish };
        session.start(&command, &request, self.wait.until_settled())
    }
}
