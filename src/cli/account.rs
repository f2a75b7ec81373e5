//! Who calls: the user at the keyboard, also when `sudo` put root in between.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};

use super::error::Failure;
use crate::api::{EnvironmentKind, EnvironmentSettings, users};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// # Errors
/// When machines of this host are touched and we are not root; the hint is the same command by `sudo`.
pub fn require_root(settings: &EnvironmentSettings, what: &str, words: &[&str]) -> Result<(), Failure> {
    if is_root() || settings.kind == EnvironmentKind::Simulated {
        return Ok(());
    }
    Err(Failure::failed(format!("environment \"{}\": {what} needs root", settings.name)).hint(sudo(words)))
}

/// `sudo` forgets variables and looks for programs in its own places only.
fn sudo(words: &[&str]) -> String {
    const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let home = std::env::var("ENCANTO_HOME").ok().filter(|home| !home.is_empty());
    let home = home.map(|home| format!("ENCANTO_HOME={home} ")).unwrap_or_default();
    let found =
        |path: &PathBuf| path.parent().is_some_and(|folder| PLACES.iter().any(|place| folder == Path::new(place)));
    let program = match std::env::current_exe() {
        Ok(path) if !found(&path) => path.display().to_string(),
        _ => "encanto".to_owned(),
    };
    format!("sudo {home}{program} {}", words.join(" "))
}

impl Account {
    /// The account whose home holds the environments.
    pub fn invoking() -> Self {
        if is_root()
            && let Some(uid) = number("SUDO_UID").filter(|uid| *uid != 0)
        {
            return Self::behind_sudo(uid);
        }
        let uid = rustix::process::getuid().as_raw();
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self {
            gid: rustix::process::getgid().as_raw(),
            home: home.or_else(|| users::find(uid).map(|user| user.dir)).unwrap_or_else(|| PathBuf::from("/")),
            name: users::name_of(uid),
            uid,
        }
    }

    fn behind_sudo(uid: u32) -> Self {
        let name = std::env::var("SUDO_USER").unwrap_or_else(|_| users::name_of(uid));
        let known = users::find(uid);
        Self {
            uid,
            gid: number("SUDO_GID").or(known.as_ref().map(|user| user.gid.as_raw())).unwrap_or(uid),
            home: known.map_or_else(|| Path::new("/home").join(&name), |user| user.dir),
            name,
        }
    }

    /// Gives a file that root made to the user.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        if is_root() {
            rustix::fs::chown(path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        }
        Ok(())
    }
}

fn number(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}
