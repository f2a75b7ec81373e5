//! An environment of its own for a bench, which is gone when it is dropped.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use encanto::api::{Client, ControllerInfo, EnvironmentKind, EnvironmentSettings, Wait, WaitEvent};
use tokio::runtime::Runtime;

/// Long enough for a busy host; whoever waits longer has failed.
const PATIENCE: u64 = 900;

pub struct Place {
    /// Removed last, after the environment in it.
    pub home: tempfile::TempDir,
    pub kind: EnvironmentKind,
    pub name: &'static str,
    pub runtime: Runtime,
}

/// What is to be removed when the bench is interrupted.
#[derive(Default)]
struct Left {
    environments: BTreeSet<(PathBuf, &'static str)>,
    folders: BTreeSet<PathBuf>,
}

static LEFT: LazyLock<Mutex<Left>> = LazyLock::new(Mutex::default);

fn left() -> MutexGuard<'static, Left> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder that is removed when this is dropped, whether or not it is there by then.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(path: PathBuf) -> Folder {
        left().folders.insert(path.clone());
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        left().folders.remove(&self.0);
    }
}

/// Drops do not run when a signal ends the process.
pub fn end_on_interrupt() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = signals.0.recv() => {}, _ = signals.1.recv() => {} }
        });
        // Kept locked: whoever is at work fails from now on, and must not take down the same things.
        let left = left();
        for (home, name) in &left.environments {
            destroy(home, name);
            let _ = std::fs::remove_dir_all(home);
        }
        for folder in &left.folders {
            let _ = std::fs::remove_dir_all(folder);
        }
        std::process::exit(130);
    });
    Ok(())
}

fn program(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encanto"));
    command.args(words).env("ENCANTO_HOME", home).env_remove("ENCANTO_ENV").env_remove("ENCANTO_REPOSITORY");
    command.stdin(Stdio::null());
    command
}

fn destroy(home: &Path, name: &str) {
    if !home.join(name).exists() {
        return;
    }
    let ended = program(home, &["destroy-environment", name, "--yes", "--force"]).output();
    if !ended.as_ref().is_ok_and(|ended| ended.status.success()) {
        let _ = writeln!(std::io::stderr(), "environment \"{name}\" in {} is left: {ended:?}", home.display());
    }
}

impl Place {
    /// A home with one environment, not bootstrapped. Charms are first looked up in `charms/` of the home.
    pub fn new(name: &'static str, kind: EnvironmentKind) -> anyhow::Result<Place> {
        let home = tempfile::Builder::new().prefix("encanto-bench-").tempdir()?;
        let word = kind.as_str();
        let uri = kind.uri().map(|uri| format!("    uri: {uri}\n")).unwrap_or_default();
        let text = format!("environments:\n  {name}:\n    type: {word}\n{uri}    repository: charms\n");
        std::fs::write(home.path().join("environments.yaml"), text)?;
        std::fs::create_dir(home.path().join("charms"))?;
        left().environments.insert((home.path().to_owned(), name));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Place { home, kind, name, runtime })
    }

    pub fn folder(&self) -> PathBuf {
        self.home.path().join(self.name)
    }

    pub fn write_charm(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let folder = self.home.path().join("charms").join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join("charm.lua"), text)?)
    }

    /// Runs a command line and says how long its process took.
    pub fn run(&self, line: &str) -> anyhow::Result<Duration> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = program(self.home.path(), &words);
        let begun = Instant::now();
        let output = command.output().context("cannot start the program")?;
        let took = begun.elapsed();
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(took)
    }

    pub fn settings(&self) -> anyhow::Result<EnvironmentSettings> {
        Ok(EnvironmentSettings {
            name: self.name.parse()?,
            kind: self.kind.clone(),
            folder: self.folder(),
            user: "root".to_owned(),
            uid: 0,
            gid: 0,
            repository: None,
            mirror: None,
            retry_hooks: true,
            series: "bookworm".to_owned(),
            log_size: encanto::api::LOG_SIZE,
        })
    }

    /// Asks the controller without a process in between.
    pub fn ask<V: encanto::api::Verb>(&self, verb: &V) -> anyhow::Result<V::Answer> {
        let settings = self.settings()?;
        self.runtime.block_on(async { Ok(Client::connect(&settings).await?.for_command("bench").call(verb).await?) })
    }

    /// Waits until nothing is pending for the targets; none is everything.
    pub fn settle(&self, targets: &[&str]) -> anyhow::Result<()> {
        let targets = targets.iter().map(|&target| target.to_owned()).collect();
        let wait = Wait { targets, condition: Some("settled".to_owned()), timeout: Some(PATIENCE) };
        self.wait(wait)
    }

    pub fn wait(&self, wait: Wait) -> anyhow::Result<()> {
        let settings = self.settings()?;
        self.runtime.block_on(async {
            let client = Client::connect(&settings).await?;
            let mut events = client.wait(&wait).await?;
            while let Some(event) = events.next().await? {
                match event {
                    WaitEvent::Progress(_) => {}
                    WaitEvent::Ready => return Ok(()),
                    other => anyhow::bail!("it did not settle: {other:?}"),
                }
            }
            anyhow::bail!("the controller went away")
        })
    }

    /// The end of the log, to tell why something failed.
    pub fn last_words(&self) -> String {
        let log = program(self.home.path(), &["debug-log", "-e", self.name, "--no-tail", "-n", "20"]).output();
        log.map(|log| String::from_utf8_lossy(&log.stdout).into_owned()).unwrap_or_default()
    }

    pub fn controller(&self) -> anyhow::Result<Process> {
        Ok(Process(self.ask(&ControllerInfo {})?.pid))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut left = left();
        destroy(self.home.path(), self.name);
        left.environments.remove(&(self.home.path().to_owned(), self.name));
    }
}

/// What the kernel tells of a process.
pub struct Process(u32);

impl Process {
    pub fn megabytes(&self, key: &str) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).context("no such key")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Time on a core so far, in ticks of a hundredth of a second.
    pub fn ticks(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name before may hold anything, but for its closing parenthesis.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).context("short stat");
        Ok(field(11)? + field(12)?)
    }

    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.0))?.count())
    }
}
