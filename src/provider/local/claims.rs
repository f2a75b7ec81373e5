//! Who has adopted what, seen by all environments of the host: a small file for each, beside the images.
//!
//! A claim names the record that it was made for, and holds as long as that is there. So one whose environment was lost
//! is nobody's, and nothing has to be cleared up.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::digest_hex;
use super::record::{absent_is_fine, io_error};
use crate::provider::{Origin, ProviderError};

/// All claims of this host.
pub struct Claims(PathBuf);

impl Claims {
    pub fn new(cache: &Path) -> Self {
        Self(cache.join("adopted"))
    }

    /// A folder is the same by whatever links it is reached.
    fn file(&self, kind: &str, origin: &Origin) -> PathBuf {
        let what = match origin {
            Origin::Named(name) => format!("{kind}\n{name}"),
            Origin::Folder(folder) => {
                let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
                format!("folder\n{}", real.display())
            }
        };
        self.0.join(digest_hex(what.as_bytes()))
    }

    /// The record for which it is held.
    pub fn holder(&self, kind: &str, origin: &Origin) -> Option<PathBuf> {
        let text = std::fs::read_to_string(self.file(kind, origin)).ok()?;
        Some(PathBuf::from(text.trim_end())).filter(|record| record.exists())
    }

    /// Claims it for the record, which is there already.
    ///
    /// # Errors
    /// Another environment has it.
    pub fn take(&self, kind: &str, origin: &Origin, record: &Path) -> Result<(), ProviderError> {
        let file = self.file(kind, origin);
        match self.holder(kind, origin) {
            Some(holder) if holder == record => return Ok(()),
            Some(_) => return Err(ProviderError::Taken(origin.clone())),
            None => {}
        }
        absent_is_fine(std::fs::remove_file(&file)).map_err(|e| io_error("remove", &file, e))?;
        std::fs::create_dir_all(&self.0).map_err(|e| io_error("create", &self.0, e))?;
        let made = std::fs::File::create_new(&file).and_then(|mut new| writeln!(new, "{}", record.display()));
        match made {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(ProviderError::Taken(origin.clone()))
            }
            other => other.map_err(|e| io_error("write", &file, e)),
        }
    }

    /// Gives it up, if it is held for this record.
    pub fn drop(&self, kind: &str, origin: &Origin, record: &Path) -> Result<(), ProviderError> {
        if self.holder(kind, origin).as_deref() != Some(record) {
            return Ok(());
        }
        let file = self.file(kind, origin);
        absent_is_fine(std::fs::remove_file(&file)).map_err(|e| io_error("remove", &file, e))?;
        // Others may be there.
        let _ = std::fs::remove_dir(&self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_as_long_as_its_record_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::new(folder.path());
        let [one, other] = ["one.json", "other.json"].map(|name| folder.path().join(name));
        for record in [&one, &other] {
            std::fs::write(record, "{}").unwrap();
        }
        let web = Origin::Named("web".into());
        claims.take("lxc", &web, &one).unwrap();
        claims.take("lxc", &web, &one).unwrap();
        assert!(matches!(claims.take("lxc", &web, &other), Err(ProviderError::Taken(_))));
        claims.take("kvm", &web, &other).unwrap();
        claims.drop("lxc", &web, &other).unwrap();
        assert_eq!(claims.holder("lxc", &web), Some(one.clone()), "only who holds it gives it up");
        std::fs::remove_file(&one).unwrap();
        claims.take("lxc", &web, &other).unwrap();
        for kind in ["lxc", "kvm"] {
            claims.drop(kind, &web, &other).unwrap();
        }
        assert!(!folder.path().join("adopted").exists(), "nothing is left of them");
    }
}
