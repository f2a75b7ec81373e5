//! Containers that others made with LXC's tools.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Lxc;
use crate::provider::local::container::guest::shares_network;
use crate::provider::local::look::Root;
use crate::provider::local::record::{folder_entries, io_error};
use crate::provider::{Foreign, InstanceState, ProviderError};

impl Lxc {
    /// Whether there is a container of that name.
    pub(super) fn has_container(&self, name: &str) -> bool {
        self.settings.lxc_path.join(name).join("config").is_file()
    }

    pub(super) async fn others(&self, prefix: &str) -> Result<Vec<Foreign>, ProviderError> {
        let running = self.running_now()?;
        let mut names = folder_entries(&self.settings.lxc_path)?;
        names.retain(|name| !name.starts_with(prefix) && self.has_container(name));
        names.sort();
        let mut found = Vec::new();
        for name in names {
            found.push(self.look_at(name, &running).await?);
        }
        Ok(found)
    }

    /// Whether what is there of this name, if anything is, was made for the environment with this bridge. The
    /// configuration says so; an empty one is ours, before the first start.
    pub(super) fn is_made_for(&self, name: &str, bridge: &str) -> Result<bool, ProviderError> {
        let config = self.configuration(name)?;
        Ok(config.is_empty() || values(&config, "lxc.net.0.link").any(|link| link == bridge))
    }

    /// Empty if there is none.
    fn configuration(&self, name: &str) -> Result<String, ProviderError> {
        let path = self.settings.lxc_path.join(name).join("config");
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|e| io_error("read", &path, e)),
        }
    }

    async fn look_at(&self, name: String, running: &BTreeSet<String>) -> Result<Foreign, ProviderError> {
        // Nothing, if it was deleted since it was listed.
        let config = self.configuration(&name)?;
        let init = if running.contains(&name) { self.init_of(&name).await? } else { None };
        let state = if init.is_some() { InstanceState::Running } else { InstanceState::Stopped };
        let place = init.map(|init| PathBuf::from(format!("/proc/{init}/root"))).or_else(|| disk(&config));
        let root = place.and_then(|place| Root::open(&place).ok());
        let shared = init.map_or_else(|| names_no_network(&config), shares_network);
        let obstacle = match &root {
            _ if is_ours(&config) => Some("it is a machine of another environment".to_owned()),
            _ if shared => Some("it has no network of its own, but the host's".to_owned()),
            None => Some(format!("what is in it can only be seen while it runs: lxc-start -n {name}")),
            Some(root) => root.obstacle().map(str::to_owned),
        };
        let series = root.as_ref().and_then(Root::series);
        Ok(Foreign { kind: super::KIND.name.into(), name, state, series, obstacle })
    }
}

fn values<'a>(config: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = config.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(|l| l.split_once('='));
    pairs.filter(move |(found, _)| found.trim() == key).map(|(_, value)| value.trim())
}

/// Where the files of a stopped container are; `None` where only LXC can mount them.
fn disk(config: &str) -> Option<PathBuf> {
    let path = values(config, "lxc.rootfs.path").last()?;
    let (backend, rest) = path.split_once(':').unwrap_or(("dir", path));
    let folder = match backend {
        "dir" | "btrfs" => rest,
        // The lower one: who the container is has hardly been changed in it.
        "overlay" | "overlayfs" => rest.split(':').next().unwrap_or(rest),
        _ => return None,
    };
    Some(PathBuf::from(folder)).filter(|folder| Path::new(folder).is_dir())
}

/// The bridges of environments are called `enc` and eight digits.
fn is_ours(config: &str) -> bool {
    let bridge = |link: &str| {
        link.strip_prefix("enc").is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    values(config, "lxc.net.0.link").any(bridge)
}

fn names_no_network(config: &str) -> bool {
    values(config, "lxc.net.0.type").last() == Some("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_says_of_disk_and_network() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display().to_string();
        let of = |value: &str| disk(&format!("# lxc.rootfs.path = dir:/\nlxc.rootfs.path = {value}\n"));
        for text in [here.clone(), format!("dir:{here}"), format!("overlay:{here}:/delta"), format!("btrfs:{here}")] {
            assert_eq!(of(&text).as_deref(), Some(folder.path()), "{text}");
        }
        for text in ["lvm:/dev/lxc/web", "zfs:tank/web", "dir:/no/such/folder"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert!(is_ours("lxc.net.0.link = enc0a1b2c3d\n") && !is_ours("lxc.net.0.link = lxcbr0\n"));
        assert!(!is_ours("lxc.net.0.link = encounter\n"));
        assert!(names_no_network("lxc.net.0.type=none\n") && !names_no_network("lxc.net.0.type = veth\n"));
    }
}
