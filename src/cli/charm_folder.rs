//! Reads the files of a charm that lies in a folder of the operator's.
//!
//! Hidden files stay at home. What cannot be read is an error: half a charm is worse than none.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::error::Failure;
use crate::api::CharmSource;

/// Most bytes that all files together may have.
const LARGEST: u64 = 10 << 20;
const DEEPEST: usize = 16;

pub fn read(folder: &Path) -> Result<CharmSource, Failure> {
    let nothing = || Failure::failed(format!("no charm was found at \"{}\"", folder.display()));
    if !folder.is_dir() {
        return Err(nothing().hint("there is no such folder"));
    }
    if !folder.join("charm.lua").is_file() {
        return Err(nothing().hint("a charm is a folder with a file charm.lua in it"));
    }
    let path =
        folder.canonicalize().map_err(|error| Failure::io(format!("cannot read \"{}\"", folder.display()), &error))?;
    let mut reader = Reader { files: BTreeMap::new(), left: LARGEST };
    reader.folder(&path, "", 0)?;
    Ok(CharmSource::Files { path: path.display().to_string(), files: reader.files })
}

/// `<repository>/<charm>/` or `<repository>/<series>/<charm>/`.
pub fn look_up(repository: &Path, charm: &str) -> Result<PathBuf, Failure> {
    let name = charm.strip_prefix("local:").unwrap_or(charm);
    let mut places = vec![repository.join(name)];
    if !name.contains('/') {
        let mut series: Vec<PathBuf> = match fs::read_dir(repository) {
            Ok(entries) => entries.flatten().map(|entry| entry.path().join(name)).collect(),
            Err(error) => return Err(Failure::io(format!("cannot read \"{}\"", repository.display()), &error)),
        };
        series.sort();
        places.extend(series);
    }
    let found = places.into_iter().find(|place| place.join("charm.lua").is_file());
    found.ok_or_else(|| {
        Failure::failed(format!("charm \"{charm}\" not found in \"{}\"", repository.display()))
            .hint("without --repository it is looked up among the built-in charms")
    })
}

struct Reader {
    files: BTreeMap<String, String>,
    left: u64,
}

impl Reader {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::io(format!("cannot read \"{}\"", folder.display()), &error);
        if depth > DEEPEST {
            return Err(Failure::failed(format!("folders nest deeper than {DEEPEST}: \"{}\"", folder.display())));
        }
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                return Err(Failure::failed(format!(
                    "the name of a file is not UTF-8: \"{}\"",
                    entry.path().display()
                )));
            };
            if name.starts_with('.') {
                continue;
            }
            // A link to a folder may lead anywhere, also back here; a link to a file is that file.
            if entry.file_type().map_err(unreadable)?.is_dir() {
                self.folder(&entry.path(), &format!("{prefix}{name}/"), depth + 1)?;
            } else {
                self.file(&entry.path(), format!("{prefix}{name}"))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::io(format!("cannot read \"{}\"", path.display()), &error);
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::new(ErrorKind::InvalidInput, "not a regular file")));
        }
        let too_large =
            || Failure::failed(format!("the charm is larger than {} MiB: \"{}\"", LARGEST >> 20, path.display()));
        // Looked at before it is read, and again after: it may have grown.
        if metadata.len() > self.left {
            return Err(too_large());
        }
        let content = fs::read(path).map_err(unreadable)?;
        self.left = self.left.checked_sub(content.len() as u64).ok_or_else(too_large)?;
        self.files.insert(name, BASE64_STANDARD.encode(&content));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charm(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn hidden_files_stay_at_home() {
        let folder =
            charm(&[("charm.lua", b"return"), ("templates/a", b"\0\xff"), (".git/config", b"x"), ("lib/.swp", b"")]);
        let CharmSource::Files { files, .. } = read(folder.path()).unwrap() else { panic!("not files") };
        let expected =
            [("charm.lua", BASE64_STANDARD.encode(b"return")), ("templates/a", BASE64_STANDARD.encode(b"\0\xff"))];
        assert_eq!(files, expected.map(|(name, content)| (name.to_owned(), content)).into());
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let folder = charm(&[("charm.lua", b"return"), ("blob", &vec![0; LARGEST as usize])]);
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn a_charm_is_found_by_name_and_by_series() {
        let folder = charm(&[("a/charm.lua", b""), ("bookworm/b/charm.lua", b"")]);
        let found =
            |name| look_up(folder.path(), name).map(|path| path.strip_prefix(folder.path()).unwrap().to_owned()).ok();
        assert_eq!(found("a"), Some("a".into()));
        assert_eq!(found("b"), Some("bookworm/b".into()));
        assert_eq!(found("local:bookworm/b"), Some("bookworm/b".into()));
        assert_eq!(found("c"), None);
    }
}
