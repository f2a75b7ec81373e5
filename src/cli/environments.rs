//! The home of the environments: which there are, which is meant, and what is written there.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use super::account::Account;
use super::error::Failure;
use super::values::bytes;
use super::yaml;
use crate::api::{EnvironmentKind, EnvironmentName, EnvironmentSettings, LOG_SIZE, SOCKET};

/// What `init` writes.
pub const BOILERPLATE: &str = include_str!("environments.yaml");

/// What the kernel allows, its closing zero left out.
const LONGEST_SOCKET: usize = 107;

const SMALLEST_LOG: u64 = 1 << 20;
const LARGEST_LOG: u64 = 100 << 30;

const DEFAULT_SERIES: &str = "bookworm";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environments {
    #[serde(default)]
    default: Option<String>,
    environments: IndexMap<String, Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    r#type: String,
    #[serde(default)]
    uri: Option<String>,
    #[serde(default)]
    repository: Option<PathBuf>,
    #[serde(default)]
    mirror: Option<String>,
    #[serde(default)]
    default_series: Option<String>,
    #[serde(default)]
    automatically_retry_hooks: Option<bool>,
    #[serde(default)]
    log_size: Option<LogSize>,
}

/// Bytes, written as `20M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "serde_yaml::Value")]
struct LogSize(u64);

impl TryFrom<serde_yaml::Value> for LogSize {
    type Error = String;

    fn try_from(value: serde_yaml::Value) -> Result<Self, String> {
        let text = match value {
            serde_yaml::Value::String(text) => text,
            other => serde_yaml::to_string(&other).unwrap_or_default().trim_end().to_owned(),
        };
        let bytes = bytes(&text).filter(|bytes| (SMALLEST_LOG..=LARGEST_LOG).contains(bytes));
        bytes.map(LogSize).ok_or_else(|| format!("invalid log-size \"{text}\": write `20M`, from 1M to 100G"))
    }
}

impl Entry {
    /// Whether it is a good one, [`super::host::Host::problem`] tells.
    fn kind(&self) -> EnvironmentKind {
        match (self.r#type.as_str(), &self.uri) {
            ("local", None) => EnvironmentKind::Local,
            ("simulated", None) => EnvironmentKind::Simulated,
            (other, uri) => EnvironmentKind::Other { r#type: other.to_owned(), uri: uri.clone() },
        }
    }
}

/// The folder that holds everything, and whose it is.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    account: Account,
}

impl Home {
    /// `ENCANTO_HOME`, else `~/.encanto` of the user who calls, also under sudo.
    pub fn find() -> Self {
        let account = Account::invoking();
        let given = std::env::var_os("ENCANTO_HOME").filter(|folder| !folder.is_empty());
        let folder = match given {
            Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
            None => account.home.join(".encanto"),
        };
        Self { folder, account }
    }

    pub fn environments_file(&self) -> PathBuf {
        self.folder.join("environments.yaml")
    }

    fn current_file(&self) -> PathBuf {
        self.folder.join("current-environment")
    }

    pub fn environments(&self) -> Result<Environments, Failure> {
        let path = self.environments_file();
        match path.try_exists() {
            Ok(false) => {
                Err(Failure::failed(format!("no environments are defined: \"{}\" does not exist", path.display()))
                    .hint("encanto init"))
            }
            _ => yaml::read(&path),
        }
    }

    /// The environment that commands without `-e` mean: the one switched to, else the default, else the only one.
    pub fn current(&self, environments: &Environments) -> Result<String, Failure> {
        let path = self.current_file();
        match fs::read_to_string(&path) {
            Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::io(format!("cannot read \"{}\"", path.display()), &error));
            }
            _ => {}
        }
        let only = || environments.names().next().filter(|_| environments.environments.len() == 1);
        environments.default.clone().or_else(|| only().map(str::to_owned)).ok_or_else(|| {
            Failure::failed(format!(
                "no environment is chosen, and \"{}\" names no default",
                self.environments_file().display()
            ))
            .hint("encanto switch NAME")
        })
    }

    pub fn settings(&self, name: Option<&str>) -> Result<EnvironmentSettings, Failure> {
        let environments = self.environments()?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.current(&environments)?,
        };
        let entry = environments.environments.get(&name).ok_or_else(|| unknown(&name))?;
        let name: EnvironmentName = name
            .parse()
            .map_err(|error| Failure::failed(format!("\"{}\": {error}", self.environments_file().display())))?;
        let folder = self.folder.join(name.as_str());
        let socket = folder.join(SOCKET);
        if socket.as_os_str().len() > LONGEST_SOCKET {
            let problem =
                format!("the path \"{}\" is too long for a socket (at most {LONGEST_SOCKET} bytes)", socket.display());
            return Err(Failure::failed(problem).hint("choose a shorter home by the variable ENCANTO_HOME"));
        }
        Ok(EnvironmentSettings {
            folder,
            name,
            kind: entry.kind(),
            user: self.account.name.clone(),
            uid: self.account.uid,
            gid: self.account.gid,
            repository: entry.repository.as_deref().map(|folder| self.resolve(folder)),
            mirror: entry.mirror.clone(),
            retry_hooks: entry.automatically_retry_hooks.unwrap_or(true),
            series: entry.default_series.clone().unwrap_or_else(|| DEFAULT_SERIES.to_owned()),
            log_size: entry.log_size.map_or(LOG_SIZE, |size| size.0),
        })
    }

    /// Folders in the file are meant from where the file is.
    fn resolve(&self, folder: &Path) -> PathBuf {
        match folder.strip_prefix("~") {
            Ok(rest) => self.account.home.join(rest),
            Err(_) => self.folder.join(folder),
        }
    }

    pub fn write_environments(&self, text: &str) -> Result<PathBuf, Failure> {
        let path = self.environments_file();
        self.write(&path, text)?;
        Ok(path)
    }

    pub fn set_current(&self, name: &str) -> Result<(), Failure> {
        self.write(&self.current_file(), &format!("{name}\n"))
    }

    /// The folder of an environment, for its controller to fill.
    pub fn make_folder(&self, settings: &EnvironmentSettings) -> Result<(), Failure> {
        self.make_owned(&settings.folder)
            .map_err(|error| Failure::io(format!("cannot make \"{}\"", settings.folder.display()), &error))
    }

    /// Held, nobody else bootstraps here: who comes second must not clean up what the first has made.
    pub fn lock(&self) -> Result<fs::File, Failure> {
        let attempt = || -> io::Result<fs::File> {
            self.make_owned(&self.folder)?;
            let folder = fs::File::open(&self.folder)?;
            rustix::io::retry_on_intr(|| flock(&folder, FlockOperation::LockExclusive))?;
            Ok(folder)
        };
        attempt().map_err(|error| Failure::io(format!("cannot lock \"{}\"", self.folder.display()), &error))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        let attempt = || -> io::Result<()> {
            self.make_owned(&self.folder)?;
            // Whole or not at all: a reader never sees half a file.
            let draft = path.with_extension("new");
            fs::write(&draft, text)?;
            self.account.own(&draft)?;
            fs::rename(&draft, path)
        };
        attempt().map_err(|error| Failure::io(format!("cannot write \"{}\"", path.display()), &error))
    }

    /// Makes a folder and those above it that are missing; they belong to the user.
    fn make_owned(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.make_owned(above)?;
        }
        match fs::create_dir(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Err(_) => Ok(()),
            Ok(()) => self.account.own(folder),
        }
    }
}

impl Environments {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.environments.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.environments.contains_key(name)
    }
}

pub fn unknown(name: &str) -> Failure {
    Failure::failed(format!("\"{name}\" is not a name of an existing defined environment"))
        .hint("encanto switch --list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_writes_can_be_read() {
        let read: Environments = yaml::parse(BOILERPLATE).unwrap();
        assert_eq!(read.default.as_deref(), Some("local"));
        assert_eq!(read.names().collect::<Vec<_>>(), ["local", "libvirt-lxc", "libvirt-kvm", "sim"]);
        let uris = read.environments.values().map(|entry| entry.kind().uri().map(str::to_owned));
        assert_eq!(uris.flatten().collect::<Vec<_>>(), ["lxc:///", "qemu:///system"]);
    }

    #[test]
    fn the_size_of_logs_has_a_unit_and_bounds() {
        let read = |text: &str| yaml::parse::<LogSize>(text).map(|size| size.0).map_err(|problem| problem.text);
        assert_eq!(read("20M"), Ok(LOG_SIZE));
        assert_eq!(read("1G"), Ok(1 << 30));
        for (text, shown) in [("20", "20"), ("512K", "512K"), ("200G", "200G"), ("much", "much"), ("-1M", "-1M")] {
            let problem = format!("invalid log-size \"{shown}\": write `20M`, from 1M to 100G");
            assert_eq!(read(text), Err(problem), "{text}");
        }
    }
}
