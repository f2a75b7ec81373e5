//! A backup as a file: a line that says what it is, a line with the [`Manifest`], then the content, an archive.
//!
//! Nothing of a file is believed before all of it was read and found whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::settings::{EnvironmentKind, EnvironmentSettings};
use crate::model::Millis;

const WORD: &str = "encanto-backup ";
/// Grows when older programs could not make sense of the rest.
const FORMAT: u32 = 1;
/// Most bytes of one of the two lines.
const LONGEST_LINE: u64 = 64 << 10;

/// What a backup is of. The journal and the charms' files are in the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the program that wrote it.
    pub version: String,
    pub environment: String,
    pub kind: EnvironmentKind,
    /// Part of the names of its machines.
    pub user: String,
    pub series: String,
    pub taken: Millis,
    pub machines: u64,
    pub units: u64,
    /// Of the content.
    pub bytes: u64,
    /// Of the content, in hex.
    pub sha256: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot read \"{}\"", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("\"{}\" is not a backup", path.display())]
    Foreign { path: PathBuf },
    #[error("\"{}\" is a backup of a newer version (format {found}, this version knows {FORMAT})", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("\"{}\" is not whole: {wanted} bytes of content should be in it, and {found} are", path.display())]
    Length { path: PathBuf, wanted: u64, found: u64 },
    #[error("\"{}\" is damaged: its content does not have its checksum", path.display())]
    Damaged { path: PathBuf },
    #[error("\"{}\" is a backup of environment \"{found}\", not of \"{wanted}\"", path.display())]
    OtherEnvironment { path: PathBuf, found: String, wanted: String },
    #[error("\"{}\" is a backup of a {found} environment of user {user}, and \"{wanted}\" is another", path.display())]
    OtherMachines { path: PathBuf, found: String, user: String, wanted: String },
}

/// What comes before the content.
pub fn head(manifest: &Manifest) -> serde_json::Result<String> {
    Ok(format!("{WORD}{FORMAT}\n{}\n", serde_json::to_string(manifest)?))
}

/// SHA-256 in hex, made while bytes go by.
pub struct Checksum(Context);

impl Default for Checksum {
    fn default() -> Self {
        Checksum(Context::new(&SHA256))
    }
}

impl Checksum {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn hex(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Opens a backup that is whole: what it is of, and its content to be read.
///
/// # Errors
/// [`BackupError`]: truncated and foreign files among them.
pub fn open(path: &Path) -> Result<(Manifest, impl Read + use<>), BackupError> {
    let at = || path.to_owned();
    let failed = |source| BackupError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let first = line(&mut reader).map_err(failed)?;
    let format = first.strip_prefix(WORD).and_then(|number| number.parse::<u32>().ok());
    match format.ok_or_else(|| BackupError::Foreign { path: at() })? {
        FORMAT => {}
        found => return Err(BackupError::Newer { path: at(), found }),
    }
    let second = line(&mut reader).map_err(failed)?;
    let manifest: Manifest = serde_json::from_str(&second).map_err(|_| BackupError::Damaged { path: at() })?;
    let begin = reader.stream_position().map_err(failed)?;
    let (mut checksum, mut found, mut buffer) = (Checksum::default(), 0, vec![0; 64 << 10]);
    loop {
        let count = reader.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        checksum.add(&buffer[..count]);
        found += count as u64;
    }
    if found != manifest.bytes {
        return Err(BackupError::Length { path: at(), wanted: manifest.bytes, found });
    }
    if checksum.hex() != manifest.sha256 {
        return Err(BackupError::Damaged { path: at() });
    }
    reader.seek(SeekFrom::Start(begin)).map_err(failed)?;
    Ok((manifest, reader))
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
}

impl Manifest {
    /// Whether it can be restored into this environment: its machines have names that these settings give.
    ///
    /// # Errors
    /// [`BackupError::OtherEnvironment`], [`BackupError::OtherMachines`].
    pub fn fits(&self, path: &Path, settings: &EnvironmentSettings) -> Result<(), BackupError> {
        let path = path.to_owned();
        let wanted = settings.name.to_string();
        if self.environment != wanted {
            return Err(BackupError::OtherEnvironment { path, found: self.environment.clone(), wanted });
        }
        if self.kind.as_str() != settings.kind.as_str() || self.user != settings.user {
            let (found, user) = (self.kind.as_str().to_owned(), self.user.clone());
            return Err(BackupError::OtherMachines { path, found, user, wanted });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(change: impl FnOnce(&mut Vec<u8>)) -> Result<(Manifest, String), String> {
        let content = b"all that it holds";
        let mut checksum = Checksum::default();
        checksum.add(content);
        let manifest = Manifest {
            version: "0.1.0".into(),
            environment: "sim".into(),
            kind: EnvironmentKind::Simulated,
            user: "ana".into(),
            series: "bookworm".into(),
            taken: 5,
            machines: 1,
            units: 0,
            bytes: content.len() as u64,
            sha256: checksum.hex(),
        };
        let mut bytes = head(&manifest).unwrap().into_bytes();
        bytes.extend(content);
        change(&mut bytes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        std::fs::write(&path, bytes).unwrap();
        let told = |error: BackupError| error.to_string().replace(&path.display().to_string(), "b");
        let (found, content) = open(&path).map_err(told)?;
        assert_eq!(found, manifest);
        Ok((found, io::read_to_string(content).unwrap()))
    }

    #[test]
    fn a_whole_file_is_read() {
        assert_eq!(written(|_| {}).unwrap().1, "all that it holds");
    }

    #[test]
    fn whatever_was_cut_changed_or_is_another_file_is_refused_with_clear_words() {
        let refused = |change: fn(&mut Vec<u8>)| written(change).unwrap_err();
        let short = "\"b\" is not whole: 17 bytes of content should be in it, and 12 are";
        assert_eq!(refused(|bytes| bytes.truncate(bytes.len() - 5)), short);
        assert_eq!(refused(|bytes| *bytes = b"PK\x03\x04".to_vec()), "\"b\" is not a backup");
        assert_eq!(refused(Vec::clear), "\"b\" is not a backup");
        assert_eq!(
            refused(|bytes| bytes[15] = b'7'),
            "\"b\" is a backup of a newer version (format 7, this version knows 1)"
        );
        let damaged = "\"b\" is damaged: its content does not have its checksum";
        assert_eq!(refused(|bytes| *bytes.last_mut().unwrap() = b'!'), damaged);
        assert_eq!(refused(|bytes| bytes.truncate(40)), damaged);
        assert!(refused(|bytes| bytes.extend(b"more")).contains("and 21 are"));
    }
}
