//! Reaches the other host by the operator's own `ssh`, and has this very binary run there.
//!
//! Keys, ports, jumps and known hosts are what the operator's `ssh` has configured; nobody is there to answer a question.
//! The binary over there is named by its content, so that both ends are always the same; it is copied when it is missing.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Child;
use tokio::sync::OnceCell;

use super::Connector;
use super::client::{Keeper, Line};
use super::there::ARGUMENT;
use crate::provider::ProviderError;
use crate::provider::command::{Account, spawn_speaking};

/// `[user@]host[:port]` of a `uri:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
}

impl FromStr for Destination {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        // An address of IPv6 has colons of its own, and brackets around them.
        let end = rest.find(']').map_or(0, |end| end + 1);
        let (host, port) = match rest[end..].split_once(':') {
            Some((_, port)) => (&rest[..rest.len() - port.len() - 1], Some(port.parse().map_err(drop)?)),
            None => (rest, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_word = |word: &str| {
            !word.is_empty() && !word.starts_with('-') && word.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
        };
        let is_name = is_word(&host) && user.as_deref().is_none_or(is_word);
        if is_name { Ok(Self { user, host, port }) } else { Err(()) }
    }
}

/// What `ssh` needs to find out that nobody is there any more, and to ask nobody.
const OPTIONS: [&str; 12] = [
    "-T",
    "-x",
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=10",
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "ServerAliveCountMax=3",
    "-o",
    "ClearAllForwardings=yes",
];

/// How long `ssh` may take to say why it ended.
const FAREWELL: Duration = Duration::from_secs(2);
/// Lines of its errors that are kept.
const WORDS: usize = 20;
/// A longer first line is none of ours.
const FIRST_LINE: u64 = 200;

impl Destination {
    /// The whole command that runs a script of the other host's shell. It has no single quotes.
    fn argv(&self, script: &str) -> Vec<String> {
        let mut argv = vec!["ssh".to_owned()];
        argv.extend(OPTIONS.map(str::to_owned));
        argv.extend(self.words());
        argv.push(format!("exec sh -c '{script}'"));
        argv
    }

    /// As somebody types it.
    pub fn by_hand(&self) -> String {
        format!("ssh {}", self.words().filter(|word| word != "--").collect::<Vec<_>>().join(" "))
    }

    fn words(&self) -> impl Iterator<Item = String> {
        let port = self.port.map(|port| ["-p".to_owned(), port.to_string()]);
        let user = self.user.clone().map(|user| format!("{user}@")).unwrap_or_default();
        port.into_iter().flatten().chain(["--".to_owned(), format!("{user}{}", self.host)])
    }
}

pub struct Ssh {
    pub destination: Destination,
    /// Whose configuration and keys; `None` is who runs this.
    pub account: Option<Account>,
    program: PathBuf,
    digest: OnceCell<String>,
}

impl Ssh {
    pub fn new(destination: Destination, account: Option<Account>) -> Self {
        Self { destination, account, program: "/proc/self/exe".into(), digest: OnceCell::new() }
    }

    fn spawn(&self, script: &str) -> Result<Child, ProviderError> {
        let argv = self.destination.argv(script);
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        spawn_speaking(&words, self.account)
    }

    async fn digest(&self) -> Result<&str, ProviderError> {
        let program = &self.program;
        let digest = self.digest.get_or_try_init(|| async {
            let content = tokio::fs::read(program).await.map_err(|source| unreadable(program, source))?;
            Ok(super::super::local::digest_hex(&content)[..16].to_owned())
        });
        digest.await.map(String::as_str)
    }

    /// Starts the binary over there; `Err` within is the kind of machine on which it is missing.
    async fn start(&self) -> Result<Result<Line, String>, ProviderError> {
        let mut child = self.spawn(&start_script(self.digest().await?))?;
        let (Some(output), Some(input), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(self.told("ssh has no streams"));
        };
        let mut input = BufReader::with_capacity(64 << 10, input);
        let mut keeper = SshKeeper { child, words: gathered(errors), destination: self.destination.clone() };
        let mut first = String::new();
        let read = (&mut input).take(FIRST_LINE).read_line(&mut first).await;
        match (read, first.trim_end().split_once(' ')) {
            (Ok(_), Some(("encanto", "ready"))) => {
                Ok(Ok(Line { input: Box::new(input), output: Box::new(output), keeper: Box::new(keeper) }))
            }
            (Ok(_), Some(("encanto", machine))) => Ok(Err(machine.to_owned())),
            (Ok(0) | Err(_), _) => Err(keeper.why().await),
            _ => Err(self.told(&format!("its shell says {first:?} where nothing should be said"))),
        }
    }

    /// Copies the binary.
    async fn install(&self) -> Result<(), ProviderError> {
        let mut child = self.spawn(&install_script(self.digest().await?))?;
        let mut program = tokio::fs::File::open(&self.program).await.map_err(|e| unreadable(&self.program, e))?;
        let (Some(mut output), Some(errors)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(self.told("ssh has no streams"));
        };
        let mut keeper = SshKeeper { child, words: gathered(errors), destination: self.destination.clone() };
        // If it breaks, ssh says why.
        let copied = tokio::io::copy(&mut program, &mut output).await.is_ok() && output.shutdown().await.is_ok();
        drop(output);
        match keeper.child.wait().await {
            Ok(status) if copied && status.success() => Ok(()),
            _ => Err(keeper.why().await),
        }
    }

    fn told(&self, words: &str) -> ProviderError {
        explained(&self.destination, words)
    }
}

#[async_trait]
impl Connector for Ssh {
    fn host(&self) -> &str {
        &self.destination.host
    }

    async fn connect(&self) -> Result<Line, ProviderError> {
        let machine = match self.start().await? {
            Ok(line) => return Ok(line),
            Err(machine) => machine.rsplit(' ').next().unwrap_or_default().to_owned(),
        };
        if machine != std::env::consts::ARCH {
            let words = format!("it is {machine}, and this encanto is made for {}", std::env::consts::ARCH);
            return Err(self.told(&words));
        }
        tracing::info!("copying encanto to {}", self.destination.host);
        self.install().await?;
        match self.start().await? {
            Ok(line) => Ok(line),
            Err(_) => Err(self.told("encanto was copied there and is gone")),
        }
    }
}

/// Says whether the binary is there, and becomes it. Who is not root there becomes it by sudo.
fn start_script(digest: &str) -> String {
    format!(
        "B=\"${{XDG_CACHE_HOME:-$HOME/.cache}}/encanto/encanto-{digest}\"; \
         [ -x \"$B\" ] || {{ echo encanto absent $(uname -m); exit 0; }}; \
         touch -c \"$B\"; S=; [ \"$(id -u)\" = 0 ] || S=\"sudo -n\"; echo encanto ready; exec $S \"$B\" {ARGUMENT}"
    )
}

/// Whole or not at all; and what nobody has used for a month goes.
fn install_script(digest: &str) -> String {
    format!(
        "umask 077; D=\"${{XDG_CACHE_HOME:-$HOME/.cache}}/encanto\"; mkdir -p \"$D\" && cat > \"$D/new.$$\" && \
         chmod 700 \"$D/new.$$\" && mv \"$D/new.$$\" \"$D/encanto-{digest}\" && \
         find \"$D\" -name \"encanto-*\" -mtime +30 -delete"
    )
}

fn unreadable(program: &Path, source: std::io::Error) -> ProviderError {
    ProviderError::Io { action: "read", path: program.to_owned(), source }
}

type Words = Arc<Mutex<Vec<String>>>;

/// Keeps the last lines of what ssh, or the other end, says beside the protocol, and logs all.
fn gathered(errors: impl AsyncRead + Send + Unpin + 'static) -> (Words, tokio::task::JoinHandle<()>) {
    let words = Words::default();
    let kept = words.clone();
    let task = tokio::spawn(async move {
        let mut lines = BufReader::new(errors).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            tracing::info!("ssh: {line}");
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(line.trim().to_owned());
            if kept.len() > WORDS {
                kept.remove(0);
            }
        }
    });
    (words, task)
}

struct SshKeeper {
    child: Child,
    words: (Words, tokio::task::JoinHandle<()>),
    destination: Destination,
}

#[async_trait]
impl Keeper for SshKeeper {
    async fn why(&mut self) -> ProviderError {
        let status = tokio::time::timeout(FAREWELL, self.child.wait()).await;
        // What it said before it ended is still on its way.
        let _ = tokio::time::timeout(FAREWELL, &mut self.words.1).await;
        let said = self.words.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last: Vec<&str> = said.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
        match (last.len(), status) {
            (0, Ok(Ok(status))) => explained(&self.destination, &format!("the connection has ended ({status})")),
            (0, _) => explained(&self.destination, "the connection is lost"),
            (lines, _) => explained(&self.destination, &last[lines.saturating_sub(2)..].join("; ")),
        }
    }
}

/// What to do about words of ssh, of sudo or of the loader.
const REMEDIES: [(&str, &str); 9] = [
    ("Host key verification failed", "log in once by hand, to see and accept its key: {ssh}"),
    ("Permission denied", "let your key in: ssh-copy-id; `{ssh}` must log in without a question"),
    ("sudo:", "log in as root, with `root@` in the `uri:`, or let sudo ask for no password there"),
    ("error while loading shared libraries", "install what is missing there, or build encanto without libvirt"),
    ("GLIBC_", "that host is older than this encanto's: build it there, or on one as old"),
    ("cannot execute", "its cache folder must allow programs to be run"),
    ("No space left", "make room there"),
    ("Could not resolve", "look at the `uri:` in environments.yaml"),
    ("connect to host", "`{ssh}` must log in without a question"),
];

fn explained(destination: &Destination, words: &str) -> ProviderError {
    let known = REMEDIES.iter().find(|(said, _)| words.contains(said));
    ProviderError::Remote {
        words: format!("no way to {}: {words}", destination.host),
        remedy: known.map(|(_, remedy)| remedy.replace("{ssh}", &destination.by_hand())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far() -> Destination {
        Destination { user: Some("root".into()), host: "far".into(), port: Some(2222) }
    }

    #[test]
    fn the_host_is_no_option_and_the_script_is_one_word() {
        let argv = far().argv("id -u");
        assert_eq!(argv[argv.len() - 5..], ["-p", "2222", "--", "root@far", "exec sh -c 'id -u'"]);
        assert_eq!(far().by_hand(), "ssh -p 2222 root@far");
        for script in [start_script("abc"), install_script("abc")] {
            assert!(!script.contains('\''), "{script}");
        }
    }

    #[test]
    fn words_of_ssh_come_with_what_to_do() {
        for (words, remedy) in [
            ("Host key verification failed.", Some("ssh -p 2222 root@far")),
            ("root@far: Permission denied (publickey).", Some("ssh-copy-id")),
            ("sudo: a password is required", Some("`root@`")),
            ("encanto: error while loading shared libraries: libvirt.so.0", Some("without libvirt")),
            ("the connection is lost", None),
        ] {
            let error = explained(&far(), words);
            assert_eq!(error.to_string(), format!("no way to far: {words}"));
            assert_eq!(error.remedy().is_some(), remedy.is_some(), "{words}");
            assert!(error.remedy().unwrap_or_default().contains(remedy.unwrap_or_default()), "{words}");
        }
    }
}
