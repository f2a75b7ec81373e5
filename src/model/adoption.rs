//! Machines that were not made for the environment but taken over: somebody's, and somebody's they stay.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a machine was before it was taken over, and will be again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Name of the kind of machines, e.g. `lxc`.
    pub kind: String,
    pub origin: Origin,
}

/// Where it is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A container or domain, by the name that its own tools know.
    Named(String),
    /// A folder with a root filesystem, which is used as it is.
    Folder(PathBuf),
}

impl Adopted {
    /// Whether both are the same thing on the host. A folder is the same whatever runs it.
    pub fn is(&self, other: &Adopted) -> bool {
        self.origin == other.origin && (self.kind == other.kind || matches!(self.origin, Origin::Folder(_)))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Named(name) => f.write_str(name),
            Origin::Folder(folder) => write!(f, "folder {}", folder.display()),
        }
    }
}

impl fmt::Display for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Named(_) => write!(f, "{} {}", self.kind, self.origin),
            Origin::Folder(_) => self.origin.fmt(f),
        }
    }
}
