//! What LXC does with this host's cgroups.

use std::path::Path;

use super::config::HostCgroups;
use crate::provider::local::container::cgroups::remove_groups;
use crate::provider::local::record::folder_entries;

/// Groups that LXC left behind, which it does when a command was still in one.
pub fn remove_cgroups(name: &str) {
    for kind in ["payload", "monitor"] {
        remove_groups(&format!("lxc.{kind}.{name}"));
    }
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
