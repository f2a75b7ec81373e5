//! The files of the charms that an environment uses, named by their content.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::charm::CharmFiles;

#[derive(Debug, thiserror::Error)]
#[error("the files of a charm cannot be {action} at {}", path.display())]
pub struct CharmStoreError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

pub struct CharmStore {
    /// `None` keeps them in memory only (simulated environments of tests).
    folder: Option<PathBuf>,
    loaded: Mutex<HashMap<String, Arc<CharmFiles>>>,
}

impl CharmStore {
    pub fn new(folder: Option<PathBuf>) -> Self {
        CharmStore { folder, loaded: Mutex::default() }
    }

    /// Keeps the files for good. Idempotent: the name is the content.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn keep(&self, digest: &str, files: CharmFiles) -> Result<(), CharmStoreError> {
        if let Some(folder) = &self.folder {
            let path = folder.join(digest);
            let failed = |source| CharmStoreError { action: "kept", path: path.clone(), source };
            write_all(folder, digest, &files).map_err(failed)?;
        }
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), Arc::new(files));
        Ok(())
    }

    /// # Errors
    /// They are not there, or cannot be read.
    pub async fn files(&self, digest: &str) -> Result<Arc<CharmFiles>, CharmStoreError> {
        if let Some(files) = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(files.clone());
        }
        let path = self.folder.clone().unwrap_or_default().join(digest);
        let mut files = CharmFiles::new();
        read_all(&path, &path, &mut files).map_err(|source| CharmStoreError {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let files = Arc::new(files);
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), files.clone());
        Ok(files)
    }
}

/// Whole or not at all: written beside, then renamed.
fn write_all(folder: &Path, digest: &str, files: &CharmFiles) -> io::Result<()> {
    let target = folder.join(digest);
    if target.exists() {
        return Ok(());
    }
    let scratch = folder.join(format!(".{digest}"));
    match std::fs::remove_dir_all(&scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for (name, content) in files {
        let path = scratch.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content)?;
        std::fs::File::open(&path)?.sync_all()?;
    }
    std::fs::rename(&scratch, &target)
}

fn read_all(root: &Path, folder: &Path, files: &mut CharmFiles) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(root, &path, files)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            files.insert(name.to_string_lossy().into_owned(), std::fs::read(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_there_for_the_next_controller() {
        let folder = tempfile::tempdir().unwrap();
        let files: CharmFiles = [("charm.lua".into(), b"return".to_vec()), ("templates/a".into(), vec![0, 1])].into();
        let at = || CharmStore::new(Some(folder.path().to_owned()));
        at().keep("d1", files.clone()).await.unwrap();
        at().keep("d1", files.clone()).await.unwrap();
        assert_eq!(*at().files("d1").await.unwrap(), files);
        assert!(at().files("other").await.is_err());
    }
}
