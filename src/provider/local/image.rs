//! The base image: a small Debian, built once and kept by the content key of its recipe.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::driver::Flavour;
use super::record::{absent_is_fine, folder_entries, io_error};
use super::{apt, digest_hex, guest};
use crate::provider::{Progress, ProviderError, command};

/// Releases whose boot was tried with the unit list below.
pub const SERIES: [&str; 2] = ["bookworm", "trixie"];

/// What a machine needs to boot, to be reached and to be looked into.
const PACKAGES: &str = "systemd-sysv,iproute2,ca-certificates,procps,netbase,iputils-ping";

/// Documentation and translations: a third of the files of many packages, and nobody reads them in a machine.
const EXCLUDED: [&str; 5] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*"];

/// Units that a container has no use for. Without them it is up in a quarter of a second.
const MASKED: [&str; 32] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "container-getty@.service",
    "cryptsetup.target",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "getty@.service",
    "kmod-static-nodes.service",
    "man-db.timer",
    "modprobe@.service",
    "networking.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-journald-audit.socket",
    "systemd-logind.service",
    "systemd-modules-load.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-repart.service",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
];

/// Counts changes of this file that the other parts of the key do not show.
const RECIPE: u32 = 2;

/// Packages are not kept once installed. The cache that apt makes of its lists is made once, in the image, and the one
/// that also knows the installed packages is never written: else each machine and layer would hold 70 MB of them.
const APT_SETTINGS: &str = "APT::Keep-Downloaded-Packages \"false\";\nDir::Cache::pkgcache \"\";\n";

/// A question must not block a hook.
const NO_QUESTIONS: &str =
    "echo 'debconf debconf/frontend select Noninteractive' | chroot \"$1\" debconf-set-selections";

/// How to make the image of one series and flavour on this host.
#[derive(Clone, Debug)]
pub struct ImageRecipe {
    series: String,
    flavour: Flavour,
    sources: String,
    apt_settings: Vec<String>,
    key: String,
}

impl ImageRecipe {
    /// Reads the host's apt configuration.
    pub fn for_host(series: &str, flavour: Flavour, mirror: Option<&str>) -> Result<Self, ProviderError> {
        if !SERIES.contains(&series) {
            let known = SERIES.join(", ");
            return Err(ProviderError::UnknownSeries { series: series.into(), known });
        }
        let sources = apt::render_sources(series, mirror, &host_source_files()).ok_or(ProviderError::NoArchive)?;
        // No apt on the host: then there is nothing to carry over.
        let dump = command::run_blocking(&["apt-config", "dump"]).unwrap_or_default();
        let apt_settings = apt::carried_settings(&String::from_utf8_lossy(&dump));
        let mut whole =
            format!("{RECIPE}\n{series}\n{PACKAGES}\n{EXCLUDED:?}\n{MASKED:?}\n{sources}\n{apt_settings:?}");
        if flavour == Flavour::Machine {
            // Containers' keys are those of earlier versions, which knew no other flavour.
            whole.push_str(&guest::recipe());
        }
        let key = digest_hex(whole.as_bytes());
        Ok(Self { series: series.into(), flavour, sources, apt_settings, key })
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// The image's folder name in the cache.
    pub fn name(&self) -> String {
        let flavour = match self.flavour {
            Flavour::Container => "",
            Flavour::Machine => "-machine",
        };
        format!("{}{flavour}-{}", self.series, &self.key[..16])
    }

    /// Builds the image unless it is in the cache. Two environments that want it at once build it once.
    pub async fn provide(&self, images: &Path, progress: &Progress) -> Result<(), ProviderError> {
        let done = images.join(self.name());
        if done.is_dir() {
            return Ok(());
        }
        make_private_folder(images)?;
        let lock = images.join(format!(".{}.lock", self.name()));
        // Kept until the end of this function; a crash releases it.
        let _locked = tokio::task::spawn_blocking(move || lock_file(&lock))
            .await
            .map_err(|e| io_error("lock", images, std::io::Error::other(e)))??;
        if done.is_dir() {
            return Ok(());
        }
        let begun = format!(".{}.begun", self.name());
        for left in folder_entries(images)?.iter().filter(|entry| entry.starts_with(&begun)) {
            remove_tree(&images.join(left))?;
        }
        // A build that outlived its controller must not write into the next one.
        let begun = images.join(format!("{begun}-{}", std::process::id()));
        progress(&format!("building the {} image (once on this host)", self.series));
        self.bootstrap(&begun, progress).await?;
        finish_tree(&begun, self.flavour)?;
        command::run(&["chroot", &begun.to_string_lossy(), "apt-cache", "gencaches"], b"").await?;
        if self.flavour == Flavour::Machine {
            guest::finish(&begun).await?;
        }
        std::fs::rename(&begun, &done).map_err(|e| io_error("rename", &begun, e))
    }

    async fn bootstrap(&self, target: &Path, progress: &Progress) -> Result<(), ProviderError> {
        let mut argv: Vec<String> =
            ["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase"].map(str::to_owned).into();
        argv.push(match self.flavour {
            Flavour::Container => format!("--include={PACKAGES}"),
            Flavour::Machine => format!("--include={PACKAGES},{}", guest::packages()),
        });
        // Kept so that a hook can install without an update first.
        argv.push("--skip=cleanup/apt/lists".into());
        argv.extend(self.apt_settings.iter().map(|setting| format!("--aptopt={}", setting.trim_end_matches(';'))));
        argv.extend(EXCLUDED.iter().map(|pattern| format!("--dpkgopt=path-exclude={pattern}")));
        argv.push(format!("--customize-hook={NO_QUESTIONS}"));
        argv.extend([self.series.clone(), target.display().to_string(), "-".into()]);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        command::run_telling(&argv, self.sources.as_bytes(), |line| {
            let is_step =
                |step: &&str| step.ends_with("...") && !step.contains("sources.list") && !step.contains("signed-by");
            if let Some(step) = line.strip_prefix("I: ").filter(is_step) {
                progress(step.trim_end_matches('.'));
            }
        })
        .await
    }
}

fn host_source_files() -> Vec<(String, String)> {
    let folder = Path::new("/etc/apt/sources.list.d");
    let mut names = folder_entries(folder).unwrap_or_default();
    names.sort();
    let paths = names.into_iter().map(|name| folder.join(name));
    std::iter::once(PathBuf::from("/etc/apt/sources.list"))
        .chain(paths)
        .filter_map(|path| Some((path.to_str()?.to_owned(), std::fs::read_to_string(&path).ok()?)))
        .collect()
}

/// What the packages alone do not give. The tree is ours and fresh, so plain paths are safe.
fn finish_tree(root: &Path, flavour: Flavour) -> Result<(), ProviderError> {
    let units = root.join("etc/systemd/system");
    let of_machines: &[&str] = if flavour == Flavour::Machine { &guest::MASKED } else { &[] };
    let wanted = |unit: &&str| flavour == Flavour::Machine && guest::UNMASKED.contains(unit);
    for unit in MASKED.iter().filter(|unit| !wanted(unit)).chain(of_machines) {
        replace_link("/dev/null", &units.join(unit))?;
    }
    replace_link("/usr/lib/systemd/system/multi-user.target", &units.join("default.target"))?;
    // Each machine gets its own at its first boot.
    write(&root.join("etc/machine-id"), "")?;
    write(&root.join("etc/apt/apt.conf.d/90encanto"), APT_SETTINGS)?;
    for copied in ["etc/hostname", "etc/resolv.conf", "etc/hosts"] {
        let path = root.join(copied);
        absent_is_fine(std::fs::remove_file(&path)).map_err(|e| io_error("remove", &path, e))?;
    }
    Ok(())
}

fn replace_link(target: &str, link: &Path) -> Result<(), ProviderError> {
    absent_is_fine(std::fs::remove_file(link))
        .and_then(|()| symlink(target, link))
        .map_err(|e| io_error("link", link, e))
}

fn write(path: &Path, text: &str) -> Result<(), ProviderError> {
    std::fs::write(path, text).map_err(|e| io_error("write", path, e))
}

pub fn lock_file(path: &Path) -> Result<File, ProviderError> {
    let file = File::create(path).map_err(|e| io_error("create", path, e))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|e| io_error("lock", path, e.into()))?;
    Ok(file)
}

/// Makes a folder that only root can look into. Images and layers hold set-id files that belong to the real root, so no
/// other user of the host may reach them.
pub fn make_private_folder(path: &Path) -> Result<(), ProviderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| io_error("create", path, e))
}

/// Removes a whole tree; nothing if it is absent.
pub fn remove_tree(path: &Path) -> Result<(), ProviderError> {
    absent_is_fine(std::fs::remove_dir_all(path)).map_err(|e| io_error("remove", path, e))
}
