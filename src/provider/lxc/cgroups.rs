//! What LXC does with this host's cgroups.

use std::path::Path;

use super::config::HostCgroups;
use crate::provider::local::record::folder_entries;

/// Groups that LXC left behind, which it does when a command was still in one. Best effort: an empty group costs nothing.
pub fn remove_cgroups(name: &str) {
    let base = Path::new("/sys/fs/cgroup");
    let mut hierarchies = vec![base.to_owned()];
    hierarchies.extend(folder_entries(base).unwrap_or_default().into_iter().map(|entry| base.join(entry)));
    for hierarchy in hierarchies {
        for kind in ["payload", "monitor"] {
            remove_group(&hierarchy.join(format!("lxc.{kind}.{name}")));
        }
    }
}

/// Files of a cgroup folder go with it; only its folders must be removed first.
fn remove_group(group: &Path) {
    for entry in folder_entries(group).unwrap_or_default() {
        let path = group.join(entry);
        if path.is_dir() {
            remove_group(&path);
        }
    }
    let _ = std::fs::remove_dir(group);
}

pub fn host_cgroups() -> HostCgroups {
    let base = Path::new("/sys/fs/cgroup");
    let unified = base.join("cgroup.controllers").exists();
    let swap = if unified {
        // The top group has no limits, those below it do.
        let below = folder_entries(base).unwrap_or_default();
        below.iter().any(|group| base.join(group).join("memory.swap.max").exists())
    } else {
        base.join("memory/memory.memsw.limit_in_bytes").exists()
    };
    HostCgroups { unified, swap }
}
