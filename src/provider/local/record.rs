//! What the provider remembers of each instance, one small file each.
//!
//! **Invariant:** the record is written before anything of the instance exists and removed after everything of it is
//! gone. So a crash in between leaves nothing that nobody knows of.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hardware::Limits;
use crate::provider::command::replace_file;
use crate::provider::{InstanceName, LayerKey, Origin, ProviderError};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Name of the kind of machines; those of earlier versions were all containers of LXC.
    #[serde(default = "lxc")]
    pub kind: String,
    pub address: Ipv4Addr,
    /// Folder name of the base image: an upgrade of the program must not change what a machine stands on.
    pub image: String,
    pub layers: Vec<LayerKey>,
    pub memory: Option<u64>,
    pub cores: Option<u32>,
    pub build: bool,
    /// What an adopted one was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl InstanceRecord {
    pub fn limits(&self) -> Limits {
        Limits { memory: self.memory, cores: self.cores }
    }

    /// Of an instance of which nothing is known but that it is there.
    pub fn lost(kind: &str) -> Self {
        Self {
            kind: kind.into(),
            address: Ipv4Addr::UNSPECIFIED,
            image: String::new(),
            layers: Vec::new(),
            memory: None,
            cores: None,
            build: false,
            origin: None,
        }
    }
}

fn lxc() -> String {
    "lxc".to_owned()
}

/// A folder of values as JSON files.
#[derive(Debug)]
pub struct RecordFolder(PathBuf);

impl RecordFolder {
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub fn file(&self, name: &InstanceName) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    pub fn load_all(&self) -> Result<BTreeMap<InstanceName, InstanceRecord>, ProviderError> {
        let mut records = BTreeMap::new();
        for name in folder_entries(&self.0)? {
            let Some(stem) = name.strip_suffix(".json") else { continue };
            if let Some(record) = load_json(&self.0.join(&name))? {
                records.insert(InstanceName::new(stem)?, record);
            }
        }
        Ok(records)
    }

    pub fn store(&self, name: &InstanceName, record: &InstanceRecord) -> Result<(), ProviderError> {
        store_json(&self.file(name), record)
    }

    pub fn remove(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let path = self.file(name);
        absent_is_fine(std::fs::remove_file(&path)).map_err(|e| io_error("remove", &path, e))
    }
}

/// Names in a folder; none if it is not there.
pub fn folder_entries(folder: &Path) -> Result<Vec<String>, ProviderError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| io_error("read", folder, e))?,
    };
    Ok(entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

pub fn load_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ProviderError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path, error)),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| io_error("understand", path, e.into())),
    }
}

pub fn store_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ProviderError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
    }
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| io_error("encode", path, e.into()))?;
    replace_file(path, &bytes)
}

pub fn io_error(action: &'static str, path: &Path, source: std::io::Error) -> ProviderError {
    ProviderError::Io { action, path: path.to_owned(), source }
}

/// Takes it as done if what was to be removed is not there.
pub fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
