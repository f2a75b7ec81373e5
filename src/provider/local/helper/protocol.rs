//! What the controller asks of the hidden helper, and what it answers.
//!
//! A request is its length (4 bytes, little endian), that many bytes of JSON, then for a written file the content up
//! to the end of the stream. A reply is one line of JSON, for a read file followed by the content.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::provider::ProviderError;

/// First argument of the hidden mode.
pub const HELPER_ARGUMENT: &str = "__enter";

#[derive(Debug, Serialize, Deserialize)]
pub enum HelperRequest {
    Mount(MountOrder),
    View(ViewOrder),
    Share(ShareOrder),
    Exec(ExecOrder),
    File(FileOrder),
}

/// An overlay over idmapped views of its layers.
#[derive(Debug, Serialize, Deserialize)]
pub struct MountOrder {
    pub target: PathBuf,
    /// Read-only folders, lowest first.
    pub lowers: Vec<PathBuf>,
    /// Holds `upper` and `work`.
    pub scratch: PathBuf,
    /// First host id of the machine's range; `None` if it has the host's own ids.
    pub first_id: Option<u32>,
    pub volatile: bool,
}

/// A folder as it is, seen with the machine's ids. What is written there lands in it with the ids that it had inside.
#[derive(Debug, Serialize, Deserialize)]
pub struct ViewOrder {
    pub target: PathBuf,
    pub source: PathBuf,
    /// As in [`MountOrder`].
    pub first_id: Option<u32>,
}

/// A mount of ours, where another process has mounts of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShareOrder {
    /// The same path there.
    pub target: PathBuf,
    pub process: i32,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ExecOrder {
    /// Host process id of the machine's init.
    pub init: i32,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    pub user: Option<String>,
    pub timeout_ms: Option<u64>,
    /// Columns, rows.
    pub terminal: Option<(u16, u16)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct FileOrder {
    pub init: i32,
    pub path: String,
    pub action: FileAction,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum FileAction {
    Read { limit: u64 },
    Write { mode: Option<u32>, user: Option<String>, group: Option<String> },
    Stat,
    Remove,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum HelperReply {
    /// The command runs; with a terminal its master comes along as a file descriptor.
    Started,
    Exited(i32),
    TimedOut,
    /// The content follows the line.
    Content,
    Stat {
        kind: String,
        mode: u32,
        uid: u32,
        gid: u32,
        size: u64,
    },
    Done,
    NoFile,
    TooLarge,
    NoUser(String),
    Failed {
        step: String,
        errno: i32,
    },
}

/// The wire form of a request's head.
pub fn encode_request(request: &HelperRequest) -> Result<Vec<u8>, ProviderError> {
    let json = serde_json::to_vec(request).map_err(|e| ProviderError::Io {
        action: "encode",
        path: "request".into(),
        source: e.into(),
    })?;
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}

/// Splits a reply into its line and what follows.
pub fn decode_reply(bytes: &[u8]) -> Option<(HelperReply, &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    serde_json::from_slice(&bytes[..end]).ok().map(|reply| (reply, &bytes[end + 1..]))
}
