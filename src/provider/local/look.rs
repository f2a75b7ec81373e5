//! A look at a root filesystem from outside: which release it is, and whether charms can live in it.
//!
//! It may be anybody's, and hostile: no link in it leads out of it, and no more is read than a description is long.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// No `os-release` is longer.
const LIMIT: u64 = 64 << 10;

/// A root filesystem.
pub struct Root(std::fs::File);

impl Root {
    pub fn open(path: &Path) -> std::io::Result<Self> {
        std::fs::File::open(path).map(Self)
    }

    fn inside(&self, path: &str, flags: OFlags) -> std::io::Result<OwnedFd> {
        Ok(openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?)
    }

    pub fn has(&self, path: &str) -> bool {
        self.inside(path, OFlags::PATH).is_ok()
    }

    /// The release's own word, e.g. `bookworm`.
    pub fn series(&self) -> Option<String> {
        let file = ["etc/os-release", "usr/lib/os-release"]
            .into_iter()
            .find_map(|path| self.inside(path, OFlags::RDONLY | OFlags::NONBLOCK).ok())?;
        let mut text = String::new();
        std::fs::File::from(file).take(LIMIT).read_to_string(&mut text).ok()?;
        codename(&text)
    }

    /// Why a machine on this root could not host charms.
    pub fn obstacle(&self) -> Option<&'static str> {
        match ["lib/systemd/systemd", "usr/lib/systemd/systemd"].iter().any(|path| self.has(path)) {
            true => None,
            false => Some("there is no systemd in it: install systemd-sysv in it"),
        }
    }
}

fn codename(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.trim().strip_prefix("VERSION_CODENAME="))?;
    let name = value.trim_matches(['"', '\'']);
    let plain = !name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_its_codename() {
        let of = |text: &str| codename(text);
        assert_eq!(of("NAME=x\nVERSION_CODENAME=bookworm\n").as_deref(), Some("bookworm"));
        assert_eq!(of("VERSION_CODENAME=\"jammy\"").as_deref(), Some("jammy"));
        for none in ["", "VERSION_CODENAME=", "VERSION_CODENAME=\"a b\"", "VERSION=12", "VERSION_CODENAME=../x"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn no_link_leads_out_of_a_root() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        std::fs::create_dir_all(folder.path().join("usr/lib/systemd")).unwrap();
        std::fs::create_dir(&etc).unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert_eq!(root.obstacle(), Some("there is no systemd in it: install systemd-sysv in it"));
        std::fs::write(folder.path().join("usr/lib/systemd/systemd"), "").unwrap();
        assert_eq!((root.obstacle(), root.series()), (None, None));
        // As Debian has it, but absolute: meant is the root's own.
        std::os::unix::fs::symlink("/usr/lib/os-release", etc.join("os-release")).unwrap();
        assert_eq!(root.series(), None, "the host's own release is not what is in there");
        std::fs::write(folder.path().join("usr/lib/os-release"), "VERSION_CODENAME=trixie\n").unwrap();
        assert_eq!(root.series().as_deref(), Some("trixie"));
    }
}
