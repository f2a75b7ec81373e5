//! Taking a backup while everything goes on: a copy of the journal as it is between two commits, and the files of the
//! charms that the copy names.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::api::backup::{Checksum, Manifest};
use crate::api::{EnvironmentKind, EnvironmentSettings, VERSION};
use crate::charm::CharmFiles;
use crate::model::Millis;
use crate::store::SqliteJournal;
use crate::worker::{World, ledger};

/// In the environment's folder: what backups and restores are at work on. Removed at the next start.
const SCRATCH: &str = "scratch";
pub(super) const JOURNAL: &str = "journal.db";
pub(super) const CHARMS: &str = "charms";

/// What the manifest takes from the environment's settings.
#[derive(Clone, Debug)]
pub struct Origin {
    pub kind: EnvironmentKind,
    pub user: String,
}

impl Origin {
    pub fn of(settings: &EnvironmentSettings) -> Self {
        Origin { kind: settings.kind.clone(), user: settings.user.clone() }
    }
}

/// A folder of our own, gone when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub fn new(folder: &Path, name: &str) -> io::Result<Scratch> {
        let path = folder.join(SCRATCH).join(name);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Scratch(path))
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is removed at the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a killed process has left.
pub(super) fn clear_scratch(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder.join(SCRATCH)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The content is an open file that has no name any more.
pub(super) async fn take(world: &World, origin: Origin, name: &str) -> Result<(Manifest, File)> {
    let folder = world.folder.as_ref().context("this environment keeps nothing on disk")?;
    let scratch = Scratch::new(folder, name).context("there is no place for the backup")?;
    let taken = world.ledger.now();
    let journal = scratch.join(JOURNAL);
    world.ledger.copy_to(journal.clone()).await?;
    let model = tokio::task::spawn_blocking(move || -> Result<_> {
        // The copy is read as a restore would: a backup that cannot be restored is none.
        Ok(ledger::load(&mut SqliteJournal::open(&journal)?)?.model)
    });
    let model = model.await??;
    let mut charms = Vec::new();
    for charm in model.charms.values() {
        charms.push((charm.digest.clone(), world.charms.files(&charm.digest).await?));
    }
    let archived = tokio::task::spawn_blocking(move || {
        let journal = scratch.join(JOURNAL);
        let charms = charms.iter().map(|(digest, files)| (digest.as_str(), files.as_ref()));
        archive(&scratch.join("content"), &journal, charms, taken)
    });
    let (content, bytes, sha256) = archived.await?.context("the backup cannot be written")?;
    let manifest = Manifest {
        version: VERSION.to_owned(),
        environment: model.environment.as_ref().map(ToString::to_string).unwrap_or_default(),
        kind: origin.kind.clone(),
        user: origin.user,
        series: model.series.clone(),
        taken,
        machines: model.machines.len() as u64,
        units: model.units.len() as u64,
        bytes,
        sha256,
    };
    Ok((manifest, content))
}

/// Returns the archive, open at its beginning, with its length and checksum.
fn archive<'a>(
    path: &Path,
    journal: &Path,
    charms: impl Iterator<Item = (&'a str, &'a CharmFiles)>,
    taken: Millis,
) -> io::Result<(File, u64, String)> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut archive = tar::Builder::new(Counted { file, bytes: 0, checksum: Checksum::default() });
    archive.append_path_with_name(journal, JOURNAL)?;
    for (digest, files) in charms {
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_mtime((taken / 1000).unsigned_abs());
            archive.append_data(&mut header, Path::new(CHARMS).join(digest).join(name), content.as_slice())?;
        }
    }
    let counted = archive.into_inner()?;
    counted.file.sync_all()?;
    Ok((File::open(path)?, counted.bytes, counted.checksum.hex()))
}

struct Counted {
    file: File,
    bytes: u64,
    checksum: Checksum,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.checksum.add(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
