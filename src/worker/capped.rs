//! A file that is appended to and never grows past a limit: full, it becomes `<name>.1`, whose predecessor goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub struct CappedFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl CappedFile {
    /// After `limit` bytes the file is put aside; at most twice that is on disk.
    ///
    /// # Errors
    /// The file cannot be opened or made.
    pub fn open(path: &Path, limit: u64) -> io::Result<CappedFile> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(CappedFile { path: path.to_owned(), file, size, limit })
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".1");
        std::fs::rename(&self.path, aside)?;
        *self = CappedFile::open(&self.path, self.limit)?;
        Ok(())
    }
}

impl Write for CappedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size >= self.limit {
            self.put_aside()?;
        }
        let count = self.file.write(bytes)?;
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1 << 20;

    #[test]
    fn it_never_takes_more_than_twice_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut file = CappedFile::open(&path, LIMIT).unwrap();
        for _ in 0..60 {
            file.write_all(&[b'x'; 100_000]).unwrap();
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        let both = size(&path) + size(&folder.path().join("a.log.1"));
        assert!(both > LIMIT && both < 2 * LIMIT + 200_000, "{both}");
    }
}
