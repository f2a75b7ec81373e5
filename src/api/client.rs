//! The controller as the command line sees it: one request, one connection, over the environment's unix socket.
//!
//! A reason why it cannot be reached is a [`ClientError`] that knows what to type next; a refusal of the controller
//! is passed on in its own words. Nothing is retried but the log stream, which resumes after the last line it saw.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;
use tokio_util::codec::Framed;

use super::frames::{self, FrameCodec};
use super::machines::Console;
use super::requests::{
    Backup, COMMAND_HEADER, DebugHooks, DebugLog, Exec, Refusal, VERSION, VERSION_HEADER, Verb, Wait, Watch,
};
use super::settings::EnvironmentSettings;
use super::status::{EnvironmentStatus, LogLine, WaitEvent};

mod events;
pub use events::{Events, LogStream};

/// Most that an answer may hold.
const LARGEST_ANSWER: usize = 256 << 20;

/// The two directions of a running command. See [`super::Frame`].
pub type ExecStream = Framed<TokioIo<hyper::upgrade::Upgraded>, FrameCodec>;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("environment \"{environment}\" is not bootstrapped")]
    NotBootstrapped { environment: String },
    #[error("the controller of \"{environment}\" is not running")]
    NotRunning { environment: String },
    #[error("you may not talk to the controller of \"{environment}\": {} is not yours", socket.display())]
    PermissionDenied { environment: String, socket: PathBuf },
    #[error("cannot reach the controller of \"{environment}\" at {}", socket.display())]
    Unreachable { environment: String, socket: PathBuf, source: io::Error },
    /// The controller is another version than this client.
    #[error("{}", .0.error)]
    Version(Refusal),
    /// The controller's own words; nothing was changed.
    #[error("{}", .0.error)]
    Refused(Refusal),
    #[error("the controller of \"{environment}\" went away before it answered")]
    Interrupted { environment: String, log: PathBuf, source: hyper::Error },
    #[error("the controller of \"{environment}\" answered what this client does not understand: {what}")]
    Garbled { environment: String, what: String },
}

impl ClientError {
    /// What to type next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NotBootstrapped { environment } => vec![format!("encanto bootstrap -e {environment}")],
            Self::NotRunning { environment } => vec![format!("encanto controller start -e {environment}")],
            Self::PermissionDenied { .. } => {
                vec!["run it as the user who bootstrapped the environment, or with sudo".to_owned()]
            }
            Self::Unreachable { environment, .. } | Self::Garbled { environment, .. } => {
                vec![format!("encanto controller status -e {environment}")]
            }
            Self::Interrupted { environment, log, .. } => vec![
                format!("encanto controller start -e {environment}"),
                format!("if it had last words they are in {}", log.display()),
            ],
            Self::Version(refusal) | Self::Refused(refusal) => refusal.hints.clone(),
        }
    }

    /// More of the controller's words about it.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Version(refusal) | Self::Refused(refusal) => refusal.details.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether the environment has no controller to talk to.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NotBootstrapped { .. } | Self::NotRunning { .. })
    }
}

/// Whose controller it is, for the words of errors.
#[derive(Clone, Debug)]
struct Whose {
    environment: String,
    log: PathBuf,
}

impl Whose {
    fn interrupted(&self, source: hyper::Error) -> ClientError {
        ClientError::Interrupted { environment: self.environment.clone(), log: self.log.clone(), source }
    }
}

/// A way to the controller of one environment.
#[derive(Debug)]
pub struct Client {
    whose: Whose,
    socket: PathBuf,
    folder: PathBuf,
    command: String,
    /// The connection that `connect` opened, for the first request.
    first: Mutex<Option<UnixStream>>,
}

impl Client {
    /// # Errors
    /// When no controller listens. Its version is checked with the first request.
    pub async fn connect(settings: &EnvironmentSettings) -> Result<Self, ClientError> {
        let client = Self {
            whose: Whose { environment: settings.name.to_string(), log: settings.controller_log() },
            socket: settings.socket(),
            folder: settings.folder.clone(),
            command: String::new(),
            first: Mutex::new(None),
        };
        let stream = client.open().await?;
        Ok(Self { first: Mutex::new(Some(stream)), ..client })
    }

    /// Names the command that asks, for the journal. It must not hold values of settings.
    pub fn for_command(self, command: impl Into<String>) -> Self {
        Self { command: command.into(), ..self }
    }

    pub async fn call<V: Verb>(&self, verb: &V) -> Result<V::Answer, ClientError> {
        let response = self.post(V::PATH, verb, false).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.garbled(error))
    }

    pub async fn wait(&self, wait: &Wait) -> Result<Events<WaitEvent>, ClientError> {
        let response = self.post("wait", wait, false).await?;
        Ok(Events::new(self.whose.clone(), response.into_body()))
    }

    /// The status, again and again.
    pub async fn watch(&self, watch: &Watch) -> Result<Events<EnvironmentStatus>, ClientError> {
        let response = self.post("watch", watch, false).await?;
        Ok(Events::new(self.whose.clone(), response.into_body()))
    }

    /// The log; with `follow` it outlives a restart of the controller.
    pub async fn debug_log(&self, request: DebugLog) -> Result<LogStream<'_>, ClientError> {
        let events = self.log_events(&request).await?;
        Ok(LogStream::new(self, request, events))
    }

    async fn log_events(&self, request: &DebugLog) -> Result<Events<LogLine>, ClientError> {
        let response = self.post("debug-log", request, false).await?;
        Ok(Events::new(self.whose.clone(), response.into_body()))
    }

    /// The state of the environment, as a file.
    pub async fn backup(&self) -> Result<Download, ClientError> {
        let response = self.post("backup", &Backup {}, false).await?;
        Ok(Download { whose: self.whose.clone(), body: response.into_body() })
    }

    pub async fn exec(&self, exec: &Exec) -> Result<ExecStream, ClientError> {
        self.stream("exec", exec).await
    }

    pub async fn debug_hooks(&self, request: &DebugHooks) -> Result<ExecStream, ClientError> {
        self.stream("debug-hooks", request).await
    }

    pub async fn console(&self, request: &Console) -> Result<ExecStream, ClientError> {
        self.stream("console", request).await
    }

    async fn stream(&self, path: &str, request: &impl Serialize) -> Result<ExecStream, ClientError> {
        let response = self.post(path, request, true).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.garbled(format!("status {} to {path}", response.status())));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|source| self.interrupted(source))?;
        Ok(Framed::new(TokioIo::new(upgraded), FrameCodec))
    }

    async fn post(&self, path: &str, body: &impl Serialize, upgrade: bool) -> Result<Response<Incoming>, ClientError> {
        let request = self.request(path, body, upgrade)?;
        let kept = self.first.lock().ok().and_then(|mut first| first.take());
        let stream = match kept {
            Some(stream) => stream,
            None => self.open().await?,
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.interrupted(e))?;
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request).await.map_err(|source| self.interrupted(source))?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    fn request(&self, path: &str, body: &impl Serialize, upgrade: bool) -> Result<Request<Full<Bytes>>, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.garbled(error))?;
        // A header holds no control characters; what an operator typed may.
        let command: String = self.command.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/v1/{path}"))
            .header(HOST, "encanto")
            .header(CONTENT_TYPE, "application/json")
            .header(VERSION_HEADER, VERSION)
            .header(COMMAND_HEADER, command);
        if upgrade {
            request = request.header(CONNECTION, "upgrade").header(UPGRADE, frames::UPGRADE);
        }
        request.body(Full::from(body)).map_err(|error| self.garbled(error))
    }

    async fn refused(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) if status == StatusCode::CONFLICT => ClientError::Version(refusal),
            Ok(refusal) => ClientError::Refused(refusal),
            Err(_) => self.garbled(format!("{status}: {}", String::from_utf8_lossy(&body).trim())),
        }
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        match Limited::new(response.into_body(), LARGEST_ANSWER).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(source) => Err(self.interrupted(*source)),
                Err(error) => Err(self.garbled(error)),
            },
        }
    }

    async fn open(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|source| {
            let environment = self.whose.environment.clone();
            let socket = self.socket.clone();
            match source.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused if exists(&self.folder) => {
                    ClientError::NotRunning { environment }
                }
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotBootstrapped { environment },
                ErrorKind::PermissionDenied => ClientError::PermissionDenied { environment, socket },
                _ => ClientError::Unreachable { environment, socket, source },
            }
        })
    }

    fn interrupted(&self, source: hyper::Error) -> ClientError {
        self.whose.interrupted(source)
    }

    fn garbled(&self, what: impl std::fmt::Display) -> ClientError {
        ClientError::Garbled { environment: self.whose.environment.clone(), what: what.to_string() }
    }
}

/// An answer that is too large to be held in memory.
#[derive(Debug)]
pub struct Download {
    whose: Whose,
    body: Incoming,
}

impl Download {
    /// The next piece; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let interrupted = |source| self.whose.interrupted(source);
            if let Ok(bytes) = frame.map_err(interrupted)?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// A folder that may not be seen is there all the same. It is there from bootstrap to destruction, whatever of its
/// content was lost.
fn exists(path: &Path) -> bool {
    !matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound)
}
