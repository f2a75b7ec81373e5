//! What an environment is, as read from `environments.yaml`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{EnvironmentName, MachineId};

pub use crate::model::LONGEST_INSTANCE_NAME;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentSettings {
    pub name: EnvironmentName,
    pub kind: EnvironmentKind,
    /// `<home>/<environment>`: journal, socket, logs.
    pub folder: PathBuf,
    /// The user who bootstraps; under sudo the one who called it. Names the instances and owns the socket.
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    /// Charms looked up here before the built-in ones (`repository:`).
    pub repository: Option<PathBuf>,
    /// Debian mirror for images; `None` takes the host's own apt sources (`mirror:`).
    pub mirror: Option<String>,
    /// Whether failed hooks are run, and failed machines made, again by themselves (`automatically-retry-hooks:`).
    pub retry_hooks: bool,
    /// Release of new machines (`default-series:`).
    pub series: String,
    /// Most bytes that all logs of the environment take together (`log-size:`).
    pub log_size: u64,
}

/// Bytes of all logs of an environment, where `log-size` does not say otherwise.
pub const LOG_SIZE: u64 = 20 << 20;

/// What makes the machines. Of whatever else `type:` may say only the provider's registry knows what it means, so that a
/// new provider needs no change here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentKind {
    /// This host, with LXC containers where nothing else is said of a machine (`type: local`).
    Local,
    /// Machines in memory only (`type: simulated`).
    Simulated,
    Other {
        r#type: String,
        uri: Option<String>,
    },
}

impl EnvironmentKind {
    /// As an operator writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Simulated => "simulated",
            Self::Other { r#type, .. } => r#type,
        }
    }

    /// Where it is asked for machines, if that has to be said.
    pub fn uri(&self) -> Option<&str> {
        match self {
            Self::Local | Self::Simulated => None,
            Self::Other { uri, .. } => uri.as_deref(),
        }
    }
}

/// In the environment's folder.
pub const SOCKET: &str = "controller.sock";

impl EnvironmentSettings {
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// What the names of all instances begin with.
    pub fn prefix(&self) -> String {
        format!("{}-{}-", self.user, self.name)
    }

    /// As long as the name of a machine gets.
    pub fn longest_name(&self) -> String {
        self.prefix() + MachineId::LONGEST_TAG
    }

    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal.db")
    }

    pub fn log_folder(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub fn controller_log(&self) -> PathBuf {
        self.log_folder().join("controller.log")
    }
}
