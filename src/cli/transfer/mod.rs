//! Files and folders into a machine and out of it, over an exec stream: an archive goes through `tar` of the machine.
//!
//! # Guarantees
//! Bytes and permissions arrive as they were, or the command fails. A single file that goes into a machine takes its
//! place there as a whole. Nothing that comes out of a machine is written outside of where it was asked to go, whatever
//! the machine sends.
//!
//! # Caveats
//! Symbolic links in a folder stay links; sockets, devices and the like are left out.

mod near;

use std::io::BufWriter;
use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncWriteExt, duplex};
use tokio_util::io::{ReaderStream, SyncIoBridge};

use super::error::Failure;
use crate::api::{Client, Exec, Frame};
use crate::cli::terminal::Interrupts;
pub use near::Source;

/// The most bytes in a frame, and between the thread of the files and the connection.
const CHUNK: usize = 64 << 10;

/// `mysql/0:/etc/hosts`
#[derive(Clone, Debug, PartialEq)]
pub struct Far {
    /// A unit or a machine, maybe with `user@`.
    pub target: String,
    /// From the user's home, if it does not begin with `/`.
    pub path: String,
}

impl Far {
    fn exec(&self, script: &str, words: &[&str]) -> Exec {
        let argv = ["sh", "-c", script, "scp"].iter().chain(words).map(|word| (*word).to_owned()).collect();
        Exec { target: self.target.clone(), argv, terminal: None, term: None }
    }

    /// What is in this folder, which has to be there.
    pub fn inside(self) -> Far {
        let path = if self.path.is_empty() { ".".to_owned() } else { format!("{}/.", self.path) };
        Far { path, ..self }
    }

    /// From the user's home, and never an option.
    fn path(&self) -> String {
        if self.path.starts_with('/') { self.path.clone() } else { format!("./{}", self.path) }
    }
}

/// Takes an archive: `f` or `d`, where it goes, its name if that is a folder, its permissions.
const TAKE: &str = r#"
kind=$1 dest=$2 name=$3 mode=$4
fail() { echo "$1" >&2; exit 1; }
case $dest in */) [ -d "$dest" ] || [ "$kind" = d ] || fail "no such folder";; esac
[ ! -d "$dest" ] || dest=${dest%/}/$name
[ -d "$(dirname "$dest")" ] || fail "no such folder: $(dirname "$dest")"
if [ "$kind" = d ]; then
    [ -d "$dest" ] || [ ! -e "$dest" ] || fail "is no folder: $dest"
    mkdir -p "$dest" && tar -x -p --no-same-owner --strip-components=1 -C "$dest" -f - && chmod "$mode" "$dest"
else
    [ ! -d "$dest" ] || fail "is a folder: $dest"
    [ ! -L "$dest" ] || dest=$(readlink -f "$dest")
    if [ -e "$dest" ] && [ ! -f "$dest" ]; then fail "is no file: $dest"; fi
    umask 077
    new=$(mktemp "$dest.XXXXXX") || exit 1
    trap 'rm -f "$new"' EXIT
    tar -x -O -f - > "$new" || exit 1
    [ ! -e "$dest" ] || chown --reference="$dest" "$new"
    chmod "$mode" "$new" && mv -f "$new" "$dest"
fi
"#;

/// Gives an archive, and ends when it is told that the archive was read: what is written at the end of a command
/// could be lost.
const GIVE: &str = r#"
source=$1 recursive=$2
fail() { echo "$1" >&2; exit 1; }
[ -e "$source" ] || fail "no such file or folder"
set -- -c --format=gnu --hard-dereference -f -
if [ -d "$source" ]; then
    [ "$recursive" = r ] || fail "is a folder: give -r to copy it"
    tar "$@" -C "$source" . || exit 1
else
    [ -f "$source" ] || fail "is no file"
    tar "$@" -h -C "$(dirname "$source")" -- "$(basename "$source")" || exit 1
fi
cat > /dev/null
"#;

pub async fn send(client: &Client, source: Source, far: &Far) -> Result<(), Failure> {
    let kind = if source.is_folder() { "d" } else { "f" };
    let (name, mode) = (source.name(), format!("{:o}", source.mode()));
    let stream = client.exec(&far.exec(TAKE, &[kind, &far.path(), &name, &mode])).await?;
    let (mut to, mut from) = stream.split();
    let (files, bytes) = duplex(CHUNK);
    let writing =
        tokio::task::spawn_blocking(move || source.write(BufWriter::with_capacity(CHUNK, SyncIoBridge::new(files))));
    let mut parts = ReaderStream::with_capacity(bytes, CHUNK);
    let outgoing = async {
        while let Some(Ok(part)) = parts.next().await {
            // What the other side says about its end is the reason.
            if to.send(Frame::Stdin(part.into())).await.is_err() {
                break;
            }
        }
        // A file that cannot be read: the other side must not take what came for the whole.
        match writing.await {
            Ok(Ok(())) => {
                let _ = to.send(Frame::Stdin(Vec::new())).await;
                std::future::pending::<Result<(), Failure>>().await
            }
            Ok(Err(failure)) => Err(failure),
            Err(error) => Err(Failure::failed(format!("cannot read what is to be copied: {error}"))),
        }
    };
    let mut said = Vec::new();
    let mut interrupts = Interrupts::listen()?;
    let incoming = async {
        loop {
            match next(from.next().await)? {
                Frame::Stderr(bytes) => said.extend_from_slice(&bytes),
                Frame::Exit(code) => return Ok::<i32, Failure>(code),
                _ => {}
            }
        }
    };
    let code = tokio::select! {
        code = incoming => code?,
        end = outgoing => return end,
        () = interrupts.next() => return Err(Failure::interrupted()),
    };
    ended(far, code, &said)
}

pub async fn fetch(client: &Client, far: &Far, destination: &Path, recursive: bool) -> Result<(), Failure> {
    let recursive = if recursive { "r" } else { "" };
    let mut stream = client.exec(&far.exec(GIVE, &[&far.path(), recursive])).await?;
    let (bytes, files) = duplex(CHUNK);
    let mut bytes = Some(bytes);
    let (name, destination) = (far.path.clone(), destination.to_owned());
    let mut reading = tokio::task::spawn_blocking(move || near::read(SyncIoBridge::new(files), &destination, &name));
    let (mut said, mut read) = (Vec::new(), None);
    let mut interrupts = Interrupts::listen()?;
    loop {
        let frame = tokio::select! {
            frame = stream.next() => next(frame)?,
            end = &mut reading, if read.is_none() => {
                let end = end.unwrap_or_else(|error| Err(Failure::failed(format!("cannot write: {error}"))));
                // A machine that has nothing to give says why; our own trouble ends it.
                if end.is_err() && bytes.is_some() {
                    return end;
                }
                read = Some(end);
                bytes = None;
                // It may end now. If it has ended already, its exit comes next.
                let _ = stream.send(Frame::Stdin(Vec::new())).await;
                continue;
            }
            () = interrupts.next() => return Err(Failure::interrupted()),
        };
        match frame {
            // A reader that has ended is told of above.
            Frame::Stdout(part) => {
                if let Some(bytes) = &mut bytes {
                    let _ = bytes.write_all(&part).await;
                }
            }
            Frame::Stderr(part) => said.extend_from_slice(&part),
            Frame::Exit(code) => {
                ended(far, code, &said)?;
                drop(bytes);
                return match read {
                    Some(end) => end,
                    None => {
                        reading.await.unwrap_or_else(|error| Err(Failure::failed(format!("cannot write: {error}"))))
                    }
                };
            }
            _ => {}
        }
    }
}

fn next(frame: Option<std::io::Result<Frame>>) -> Result<Frame, Failure> {
    match frame {
        Some(Ok(Frame::Failed(why))) => Err(Failure::failed(why)),
        Some(Ok(frame)) => Ok(frame),
        Some(Err(error)) if error.kind() != std::io::ErrorKind::ConnectionReset => {
            Err(Failure::io("the connection to the controller broke", &error))
        }
        _ => Err(Failure::failed("the controller ended the connection").hint("encanto controller status")),
    }
}

/// The last line that the machine wrote is the reason.
fn ended(far: &Far, code: i32, said: &[u8]) -> Result<(), Failure> {
    if code == 0 {
        return Ok(());
    }
    let said = String::from_utf8_lossy(said);
    let why = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let why = why.map_or_else(|| format!("copying ended with {code}"), str::to_owned);
    Err(Failure::failed(format!("{}:{}: {why}", far.target, far.path)))
}
