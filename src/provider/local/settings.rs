//! What the machines of one environment on this host depend on.

use std::path::PathBuf;

use super::digest_hex;
use super::record::folder_entries;
use crate::provider::ProviderError;

/// What a provider of local machines needs to know.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    pub user: String,
    pub environment: String,
    /// Folder of this environment; the provider keeps its own in `lxc/` below it, which bears the name of its first kind.
    pub state_dir: PathBuf,
    /// Images and layers, shared by all environments of the host.
    pub cache_dir: PathBuf,
    /// LXC's own path, absolute. The default lets `lxc-ls` show the machines.
    pub lxc_path: PathBuf,
    /// Disks of virtual machines. QEMU's own user must be able to go through the folders above it.
    pub disk_dir: PathBuf,
    /// Executable that calls [`super::helper::run_if_asked`] first in its `main`.
    pub helper: PathBuf,
    /// Debian archive to use instead of the host's.
    pub mirror: Option<String>,
    /// Release whose image `open` builds; others are built when first needed.
    pub series: String,
    /// Name of the kind of machines that is meant when none is named; `None` is LXC.
    pub default_kind: Option<String>,
    /// Where the roots of libvirt's containers lie, absolute.
    pub filesystems_path: PathBuf,
    /// Where libvirt's containers are.
    pub lxc_uri: String,
    /// Where libvirt's virtual machines are.
    pub qemu_uri: String,
}

impl LocalSettings {
    pub fn new(user: impl Into<String>, environment: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            user: user.into(),
            environment: environment.into(),
            state_dir: state_dir.into(),
            cache_dir: "/var/cache/encanto".into(),
            lxc_path: "/var/lib/lxc".into(),
            disk_dir: "/var/lib/libvirt/images/encanto".into(),
            helper: "/proc/self/exe".into(),
            mirror: None,
            series: "bookworm".into(),
            default_kind: None,
            filesystems_path: "/var/lib/libvirt/filesystems".into(),
            lxc_uri: "lxc:///".into(),
            qemu_uri: "qemu:///system".into(),
        }
    }

    /// What machines' names begin with; the machine's tag follows, e.g. `machine-3`.
    pub fn prefix(&self) -> String {
        format!("{}-{}-", self.user, self.environment)
    }

    /// Whether anything on the host bears the names of this environment's machines already.
    ///
    /// # Errors
    /// It cannot be looked for.
    pub fn has_own_names(&self) -> Result<bool, ProviderError> {
        let prefix = self.prefix();
        let (containers, roots) = (folder_entries(&self.lxc_path)?, folder_entries(&self.filesystems_path)?);
        Ok(containers.iter().chain(&roots).any(|name| name.starts_with(&prefix)))
    }

    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.state_dir.join("lxc").join(name)
    }

    /// Where it is written down which instances there are.
    pub fn records(&self) -> PathBuf {
        self.state("instances")
    }

    pub(in crate::provider) fn images(&self) -> PathBuf {
        self.cache_dir.join("images")
    }

    pub(in crate::provider) fn layers(&self) -> PathBuf {
        self.cache_dir.join("layers")
    }

    /// The name of its bridge, if it chooses one now.
    pub(in crate::provider) fn bridge(&self) -> String {
        format!("enc{}", &self.digest()[..8])
    }

    /// Short and unique on the host, for names that the kernel limits.
    pub fn digest(&self) -> String {
        digest_hex(format!("{}\n{}\n{}", self.user, self.environment, self.state_dir.display()).as_bytes())
    }
}
