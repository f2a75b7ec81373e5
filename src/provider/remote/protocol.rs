//! What the two ends say to each other: frames, and what is in them.
//!
//! Both ends are the same binary (see [`super::ssh`]), so nothing here has to be understood by another version; a greeting
//! makes sure of it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::provider::{
    ExecEnd, ExecRequest, Hardware, InstanceName, InstanceSpec, Kind, LayerKey, Origin, ProviderError, PublishedPort,
    WriteOptions,
};

/// No frame is longer: a call with all the ports of an environment is far from it, and streams are cut into pieces.
const LONGEST: usize = 64 << 20;
/// Length, id, tag, channel.
const HEADER: usize = 10;

/// One of the streams that belong to a call.
pub type Channel = u8;
/// Towards the machines: a command's input, a file's content.
pub const IN: Channel = 0;
/// From the machines: a command's output, a file's content.
pub const OUT: Channel = 1;
/// A command's errors.
pub const ERR: Channel = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// From here: a [`Call`], or the [`Hello`] of id 0.
    Call = 1,
    /// From there: what came of it.
    Answer,
    /// From here: nobody waits for the call any more.
    Cancel,
    /// A piece of a stream.
    Data,
    /// The stream is over.
    End,
    /// Nobody reads the stream any more.
    Close,
    /// The reader of a stream has taken so many bytes.
    Credit,
    /// From here, to a command: an [`Order`].
    Order,
    /// From there: how the command ended.
    Ended,
    /// From there: a line about long work.
    Progress,
    /// From there: [`Facts`] that are new.
    Facts,
}

impl Tag {
    const ALL: [Tag; 11] = [
        Tag::Call,
        Tag::Answer,
        Tag::Cancel,
        Tag::Data,
        Tag::End,
        Tag::Close,
        Tag::Credit,
        Tag::Order,
        Tag::Ended,
        Tag::Progress,
        Tag::Facts,
    ];
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The call that it belongs to.
    pub id: u32,
    pub tag: Tag,
    pub channel: Channel,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(id: u32, tag: Tag) -> Self {
        Self { id, tag, channel: 0, payload: Vec::new() }
    }

    /// With something that serde can always write.
    pub fn json(id: u32, tag: Tag, value: &impl Serialize) -> Self {
        Self { payload: serde_json::to_vec(value).unwrap_or_default(), ..Self::new(id, tag) }
    }

    pub fn of_stream(id: u32, tag: Tag, channel: Channel, payload: Vec<u8>) -> Self {
        Self { id, tag, channel, payload }
    }

    pub fn read_json<'a, T: Deserialize<'a>>(&'a self) -> std::io::Result<T> {
        serde_json::from_slice(&self.payload).map_err(std::io::Error::other)
    }

    /// `None` at the end of the connection.
    ///
    /// # Errors
    /// The connection broke in the middle, or what came is no frame.
    pub async fn read(input: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Frame>> {
        let mut header = [0; HEADER];
        match input.read_exact(&mut header).await {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        };
        let [l0, l1, l2, l3, i0, i1, i2, i3, tag, channel] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let known = Tag::ALL.into_iter().find(|known| *known as u8 == tag).filter(|_| length <= LONGEST);
        let Some(tag) = known else {
            let shown = String::from_utf8_lossy(&header).into_owned();
            return Err(std::io::Error::other(format!("{shown:?} came where a frame should begin")));
        };
        let mut payload = vec![0; length];
        input.read_exact(&mut payload).await?;
        Ok(Some(Frame { id: u32::from_le_bytes([i0, i1, i2, i3]), tag, channel, payload }))
    }

    pub async fn write(&self, output: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let length = u32::try_from(self.payload.len()).map_err(std::io::Error::other)?;
        output.write_all(&length.to_le_bytes()).await?;
        output.write_all(&self.id.to_le_bytes()).await?;
        output.write_all(&[self.tag as u8, self.channel]).await?;
        output.write_all(&self.payload).await
    }
}

/// The first that is said.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// What is spoken from here on.
    pub version: String,
    pub errand: Errand,
}

/// What a connection is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Errand {
    /// To look whether the host can carry machines of a kind; answered by findings.
    Check { kind: Option<String> },
    /// To mend what is safe to mend of it; answered by what was done.
    Mend,
    /// To make machines; answered by [`Facts`], and calls follow.
    Serve(Place),
}

/// An environment as its machines' host is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub user: String,
    pub environment: String,
    /// Tells apart environments of one name on several controllers.
    pub controller: String,
    pub mirror: Option<String>,
    pub series: String,
    pub default_kind: Option<String>,
}

/// What a provider answers at once, and so must be known here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub address: Ipv4Addr,
    pub hardware: Hardware,
    pub kinds: Vec<WireKind>,
    pub absent: Vec<(WireKind, String)>,
    /// Kind, series, key.
    pub base_keys: Vec<(String, String, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Call {
    Open,
    Teardown,
    Disturbed,
    Mend,
    Create(InstanceSpec),
    Start(InstanceName),
    Stop(InstanceName),
    Ended(InstanceName),
    Destroy(InstanceName),
    List,
    Exec(InstanceName, ExecRequest),
    ReadFile { name: InstanceName, path: String, limit: u64 },
    WriteFile { name: InstanceName, path: String, options: WriteOptions },
    StatFile { name: InstanceName, path: String },
    RemoveFile { name: InstanceName, path: String },
    HasLayer(LayerKey),
    Seal(InstanceName, LayerKey),
    Clone { from: InstanceName, spec: InstanceSpec },
    Snapshot(InstanceName, String),
    Restore(InstanceName, String),
    DropSnapshot(InstanceName, String),
    Snapshots(InstanceName),
    Console(InstanceName, (u16, u16)),
    Foreign,
    Inspect(PathBuf),
    Adopt(InstanceSpec, Origin),
    Release(InstanceName),
    Publish(Vec<PublishedPort>),
}

/// What a command is told while it runs.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    Kill,
    Resize(u16, u16),
}

pub type Answer = Result<serde_json::Value, WireError>;
pub type CommandEnd = Result<ExecEnd, WireError>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireKind {
    name: String,
    noun: String,
    container: String,
    caution: Option<String>,
}

impl From<Kind> for WireKind {
    fn from(kind: Kind) -> Self {
        let Kind { name, noun, container, caution } = kind;
        Self { name: name.into(), noun: noun.into(), container: container.into(), caution: caution.map(str::to_owned) }
    }
}

impl WireKind {
    pub fn kind(&self) -> Kind {
        Kind {
            name: literal(&self.name),
            noun: literal(&self.noun),
            container: literal(&self.container),
            caution: self.caution.as_deref().map(literal),
        }
    }
}

/// The text as one that is part of the binary. The other end is the same binary, so there are only as many as somebody
/// wrote into its sources: they are kept for ever.
fn literal(text: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(kept);
    kept
}

/// An error on its way: those that somebody tells apart are whole, of all others the words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireError {
    BadName(String),
    NoInstance(InstanceName),
    NotRunning(InstanceName),
    NoFile { name: InstanceName, path: String },
    FileTooLarge { name: InstanceName, path: String, limit: u64 },
    File { action: String, name: InstanceName, path: String, reason: String },
    NoSnapshot { name: InstanceName, snapshot: String },
    NoLayer(LayerKey),
    NoUser { name: InstanceName, user: String },
    UnknownSeries { series: String, known: String },
    Unsupported { action: String, name: InstanceName },
    UnknownKind { kind: String, known: String },
    Libvirt { words: String, remedy: Option<String> },
    NameTaken { name: String, place: String },
    Words { words: String, remedy: Option<String> },
}

impl From<ProviderError> for WireError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::BadName(name) => Self::BadName(name),
            ProviderError::NoInstance(name) => Self::NoInstance(name),
            ProviderError::NotRunning { name } => Self::NotRunning(name),
            ProviderError::NoFile { name, path } => Self::NoFile { name, path },
            ProviderError::FileTooLarge { name, path, limit } => Self::FileTooLarge { name, path, limit },
            ProviderError::File { action, name, path, reason } => {
                Self::File { action: action.into(), name, path, reason }
            }
            ProviderError::NoSnapshot { name, snapshot } => Self::NoSnapshot { name, snapshot },
            ProviderError::NoLayer(key) => Self::NoLayer(key),
            ProviderError::NoUser { name, user } => Self::NoUser { name, user },
            ProviderError::UnknownSeries { series, known } => Self::UnknownSeries { series, known },
            ProviderError::Unsupported { action, name } => Self::Unsupported { action: action.into(), name },
            ProviderError::UnknownKind { kind, known } => Self::UnknownKind { kind, known },
            ProviderError::Libvirt { words, remedy } => Self::Libvirt { words, remedy },
            ProviderError::NameTaken { name, place } => Self::NameTaken { name, place },
            other => Self::Words { words: in_words(&other), remedy: other.remedy() },
        }
    }
}

impl From<WireError> for ProviderError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::BadName(name) => Self::BadName(name),
            WireError::NoInstance(name) => Self::NoInstance(name),
            WireError::NotRunning(name) => Self::NotRunning { name },
            WireError::NoFile { name, path } => Self::NoFile { name, path },
            WireError::FileTooLarge { name, path, limit } => Self::FileTooLarge { name, path, limit },
            WireError::File { action, name, path, reason } => {
                Self::File { action: literal(&action), name, path, reason }
            }
            WireError::NoSnapshot { name, snapshot } => Self::NoSnapshot { name, snapshot },
            WireError::NoLayer(key) => Self::NoLayer(key),
            WireError::NoUser { name, user } => Self::NoUser { name, user },
            WireError::UnknownSeries { series, known } => Self::UnknownSeries { series, known },
            WireError::Unsupported { action, name } => Self::Unsupported { action: literal(&action), name },
            WireError::UnknownKind { kind, known } => Self::UnknownKind { kind, known },
            WireError::Libvirt { words, remedy } => Self::Libvirt { words, remedy },
            WireError::NameTaken { name, place } => Self::NameTaken { name, place },
            WireError::Words { words, remedy } => Self::Remote { words, remedy },
        }
    }
}

/// With all its sources, for they cannot be sent.
fn in_words(error: &ProviderError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

/// Where the state of an environment is on the host of its machines.
pub fn state_folder(root: &std::path::Path, place: &Place) -> PathBuf {
    root.join(format!("{}-{}", place.user, place.environment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> InstanceName {
        InstanceName::new("ana-far-machine-1").unwrap()
    }

    #[test]
    fn errors_that_are_told_apart_arrive_as_they_were() {
        let all = || {
            [
                ProviderError::BadName("?".into()),
                ProviderError::NoInstance(name()),
                ProviderError::NotRunning { name: name() },
                ProviderError::NoFile { name: name(), path: "/x".into() },
                ProviderError::FileTooLarge { name: name(), path: "/x".into(), limit: 3 },
                ProviderError::File { action: "read", name: name(), path: "/x".into(), reason: "folder".into() },
                ProviderError::NoSnapshot { name: name(), snapshot: "a".into() },
                ProviderError::NoLayer("abc".into()),
                ProviderError::NoUser { name: name(), user: "ana".into() },
                ProviderError::UnknownSeries { series: "sid".into(), known: "bookworm".into() },
                ProviderError::Unsupported { action: "console", name: name() },
                ProviderError::UnknownKind { kind: "xen".into(), known: "lxc".into() },
                ProviderError::Libvirt { words: "no".into(), remedy: Some("do".into()) },
                ProviderError::NameTaken { name: "a".into(), place: "lxc:///".into() },
            ]
        };
        for (sent, same) in all().into_iter().zip(all()) {
            let json = serde_json::to_string(&WireError::from(sent)).unwrap();
            let came = ProviderError::from(serde_json::from_str::<WireError>(&json).unwrap());
            assert_eq!(format!("{came:?}"), format!("{same:?}"));
        }
    }

    #[test]
    fn all_other_errors_arrive_with_their_causes() {
        let source = std::io::Error::other("no room");
        let sent = ProviderError::Io { action: "write", path: "/x".into(), source };
        assert_eq!(ProviderError::from(WireError::from(sent)).to_string(), "cannot write /x: no room");
    }

    #[tokio::test]
    async fn what_is_no_frame_is_shown() {
        let frame = Frame::of_stream(7, Tag::Data, OUT, b"abc".to_vec());
        let mut bytes = Vec::new();
        frame.write(&mut bytes).await.unwrap();
        assert_eq!(Frame::read(&mut bytes.as_slice()).await.unwrap(), Some(frame));
        assert_eq!(Frame::read(&mut &bytes[..0]).await.unwrap(), None);
        assert!(Frame::read(&mut &bytes[..11]).await.is_err());
        let error = Frame::read(&mut &b"Welcome to far!\n"[..]).await.unwrap_err();
        assert_eq!(error.to_string(), "\"Welcome to\" came where a frame should begin");
    }
}
