//! Files of a virtual machine, handled by the helper as the machine's root.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::frame::words;
use super::inside::Inside;
use crate::provider::{ExecEnd, FileKind, FileStat, ProviderError, WriteOptions};

/// More than the longest path that a kernel takes.
const LONGEST_ANSWER: u64 = 16 * 1024;

/// What is asked of one file.
struct Work<'a> {
    /// In an error: `cannot read …`.
    action: &'static str,
    path: &'a str,
    words: Vec<String>,
    content: &'a [u8],
    /// Bytes that may come back.
    limit: u64,
}

impl Inside {
    /// Reads a file, at most `limit` bytes.
    pub async fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        let words = vec!["read".to_owned(), path.to_owned(), limit.to_string()];
        let (answer, content) = self.work(Work { action: "read", path, words, content: b"", limit }).await?;
        match texts(&answer)[..] {
            ["done"] => Ok(content),
            ["no-file"] => Err(ProviderError::NoFile { name: self.name().clone(), path: path.into() }),
            ["too-large"] => Err(ProviderError::FileTooLarge { name: self.name().clone(), path: path.into(), limit }),
            _ => Err(self.failed("read", path, &answer)),
        }
    }

    /// Replaces a file atomically; parent folders are made.
    pub async fn write_file(&self, path: &str, content: &[u8], options: &WriteOptions) -> Result<(), ProviderError> {
        // The length is told: input that ends early is a controller that died.
        let words = vec![
            "write".to_owned(),
            path.to_owned(),
            content.len().to_string(),
            options.mode.map(|mode| mode.to_string()).unwrap_or_default(),
            options.user.clone().unwrap_or_default(),
            options.group.clone().unwrap_or_default(),
        ];
        let (answer, _) = self.work(Work { action: "write", path, words, content, limit: 0 }).await?;
        match texts(&answer)[..] {
            ["done"] => Ok(()),
            _ => Err(self.failed("write", path, &answer)),
        }
    }

    /// `None` if there is no such file. Does not follow a final symlink.
    pub async fn stat_file(&self, path: &str) -> Result<Option<FileStat>, ProviderError> {
        let words = vec!["stat".to_owned(), path.to_owned()];
        let (answer, _) = self.work(Work { action: "look at", path, words, content: b"", limit: 0 }).await?;
        match texts(&answer)[..] {
            ["no-file"] => Ok(None),
            ["stat", kind, mode, uid, gid, size] => match (mode.parse(), uid.parse(), gid.parse(), size.parse()) {
                (Ok(mode), Ok(uid), Ok(gid), Ok(size)) => {
                    Ok(Some(FileStat { kind: kind_of(kind), mode, uid, gid, size }))
                }
                _ => Err(self.failed("look at", path, &answer)),
            },
            _ => Err(self.failed("look at", path, &answer)),
        }
    }

    /// Removes a file or a whole folder; nothing if it is absent.
    pub async fn remove_file(&self, path: &str) -> Result<(), ProviderError> {
        let words = vec!["remove".to_owned(), path.to_owned()];
        let (answer, _) = self.work(Work { action: "remove", path, words, content: b"", limit: 0 }).await?;
        match texts(&answer)[..] {
            ["done"] => Ok(()),
            _ => Err(self.failed("remove", path, &answer)),
        }
    }

    /// Returns the helper's answer and what came back.
    async fn work(&self, work: Work<'_>) -> Result<(Vec<String>, Vec<u8>), ProviderError> {
        let Work { action, path, words: order, content, limit } = work;
        let failed =
            |reason: String| ProviderError::File { action, name: self.name().clone(), path: path.into(), reason };
        if !path.starts_with('/') {
            return Err(failed("the path must begin with /".to_owned()));
        }
        let mut run = self.begin([vec!["file".to_owned()], order].concat(), None).await?;
        let (mut input, mut answer, mut back) = (run.stdin, Vec::new(), Vec::new());
        let feed = async move {
            // What is not taken was refused, and the answer says why.
            let _ = input.write_all(content).await;
        };
        let (stderr, stdout) = (run.stderr.take(LONGEST_ANSWER), run.stdout.take(limit));
        let (mut stderr, mut stdout) = (stderr, stdout);
        let (_, heard, read, end) =
            tokio::join!(feed, stderr.read_to_end(&mut answer), stdout.read_to_end(&mut back), run.control.wait());
        let end = end?;
        heard.and(read).map_err(|error| failed(error.to_string()))?;
        match words(&answer) {
            Some(answer) if end == ExecEnd::Exited(0) && !answer.is_empty() => Ok((answer, back)),
            _ => Err(failed(format!("the helper ended with {end:?}: {}", String::from_utf8_lossy(&answer).trim()))),
        }
    }

    fn failed(&self, action: &'static str, path: &str, answer: &[String]) -> ProviderError {
        let name = self.name().clone();
        let reason = match texts(answer)[..] {
            ["no-user", user] => return ProviderError::NoUser { name, user: user.to_owned() },
            ["failed", step, errno] => {
                let error = std::io::Error::from_raw_os_error(errno.parse().unwrap_or(libc::EIO));
                format!("{step}: {error}")
            }
            _ => format!("unexpected reply {answer:?}"),
        };
        ProviderError::File { action, name, path: path.into(), reason }
    }
}

fn texts(answer: &[String]) -> Vec<&str> {
    answer.iter().map(String::as_str).collect()
}

fn kind_of(word: &str) -> FileKind {
    match word {
        "file" => FileKind::File,
        "directory" => FileKind::Directory,
        "symlink" => FileKind::Symlink,
        _ => FileKind::Other,
    }
}
