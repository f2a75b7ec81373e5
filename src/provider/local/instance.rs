//! The life of a container: made, begun, halted, ended.
//!
//! Every step may be repeated, and may find that someone deleted or stopped the container by hand.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2, syncfs};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cable::cable;
use super::config::{ContainerConfig, HostCgroups, render_config};
use super::exec::{MachineFiles, mount_root};
use super::helper::MountOrder;
use super::host::allow_hairpin;
use super::image::{make_private_folder, remove_tree};
use super::init::Init;
use super::network::NetworkChoice;
use super::record::{InstanceRecord, absent_is_fine, folder_entries, io_error};
use super::turn::{Turn, to_the_end};
use super::{LocalProvider, idmap, locked, words};
use crate::provider::command::{replace_file, run};
use crate::provider::{ExecRequest, Hardware, InstanceName, Provider as _, ProviderError};

/// How long systemd may take until it accepts orders. Usually a tenth of a second.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long the services of a machine that is started again may take.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// How long a machine may be without init while it restarts itself.
pub const RESTART_LIMIT: Duration = Duration::from_secs(5);

/// Seconds that services get to end before they are killed.
const HALT_SECONDS: &str = "20";

async fn run_tool(argv: &[String]) -> Result<Vec<u8>, ProviderError> {
    run(&argv.iter().map(String::as_str).collect::<Vec<_>>(), b"").await
}

impl LocalProvider {
    fn folder(&self, name: &InstanceName) -> PathBuf {
        self.settings.lxc_path.join(name.as_str())
    }

    /// Where the machine's own writing goes. A build instance's lies beside the layers, because sealing renames it.
    fn scratch(&self, name: &InstanceName, build: bool) -> PathBuf {
        if build {
            self.settings.cache_dir.join("scratch").join(name.as_str())
        } else {
            self.folder(name).join("overlay")
        }
    }

    /// Whether everything of the instance was put on disk: its configuration is written last. One whose own writing was
    /// deleted by hand is none any more.
    pub fn is_made(&self, name: &InstanceName) -> bool {
        let build = locked(&self.records).get(name).is_some_and(|record| record.build);
        self.folder(name).join("config").exists() && self.scratch(name, build).join("upper").exists()
    }

    /// Puts the instance on disk.
    pub fn make(&self, name: &InstanceName, record: &InstanceRecord) -> Result<(), ProviderError> {
        if self.is_made(name) {
            return Ok(());
        }
        let root = self.folder(name).join("rootfs");
        unmount_all(&root)?;
        let scratch = self.scratch(name, record.build);
        remove_tree(&scratch)?;
        remove_tree(&self.folder(name))?;
        let folder = self.folder(name);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&folder)
            .map_err(|e| io_error("create", &folder, e))?;
        // Set-id files of the machine lie in there with the real root as owner.
        make_private_folder(&scratch)?;
        for part in [&root, &scratch.join("upper"), &scratch.join("work"), &scratch.join("upper/etc")] {
            std::fs::create_dir_all(part).map_err(|e| io_error("create", part, e))?;
        }
        let etc = scratch.join("upper/etc");
        let hosts =
            format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{} {name}\n", record.address);
        let gateway = self.gateway();
        for (file, text) in
            [("hostname", format!("{name}\n")), ("hosts", hosts), ("resolv.conf", format!("nameserver {gateway}\n"))]
        {
            std::fs::write(etc.join(file), text).map_err(|e| io_error("write", &etc.join(file), e))?;
        }
        replace_file(&folder.join("config"), b"")
    }

    fn gateway(&self) -> std::net::Ipv4Addr {
        locked(&self.network).as_ref().map_or(std::net::Ipv4Addr::UNSPECIFIED, NetworkChoice::gateway)
    }

    /// Mounts and starts the instance unless it runs, and waits until it takes orders.
    pub async fn begin(
        &self,
        name: &InstanceName,
        record: &InstanceRecord,
        (network, turn): (&NetworkChoice, &Turn),
    ) -> Result<(), ProviderError> {
        if !self.running()?.contains(name.as_str()) {
            let folder = self.folder(name);
            let cable = cable(name);
            let config = render_config(&ContainerConfig {
                name: name.as_str(),
                root: &folder.join("rootfs"),
                first_id: first_id()?,
                bridge: &network.bridge,
                cable: &cable,
                address: record.address,
                prefix: network.subnet.prefix_len(),
                gateway: network.gateway(),
                memory: record.memory,
                cores: record.cores,
                cgroups: host_cgroups(),
            });
            replace_file(&folder.join("config"), config.as_bytes())?;
            self.mount(name, record, turn).await?;
            self.lxc_start(name, turn).await?;
            if let Err(error) = allow_hairpin(&cable) {
                return Err(self.ended_at_once(name)?.unwrap_or(error));
            }
        }
        let init = self.init(name).await?;
        wait_ready(name, &init).await
    }

    async fn mount(&self, name: &InstanceName, record: &InstanceRecord, turn: &Turn) -> Result<(), ProviderError> {
        let target = self.folder(name).join("rootfs");
        if is_mounted(&target)? {
            return Ok(());
        }
        let scratch = self.scratch(name, record.build);
        if record.build {
            // After an unclean end `volatile` leaves a mark here and refuses; a build may be that careless.
            remove_tree(&scratch.join("work"))?;
        }
        let work = scratch.join("work");
        // The mount point too may have been deleted by hand; nothing of the machine was in it.
        for folder in [&work, &target] {
            std::fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
        }
        let mut lowers = vec![self.image_folder(record)];
        lowers.extend(record.layers.iter().map(|key| self.layer_folder(key)));
        let order = MountOrder { target, lowers, scratch, first_id: first_id()?, volatile: record.build };
        let helper = self.settings.helper.clone();
        to_the_end(turn, async move { mount_root(&helper, order).await }).await
    }

    async fn lxc_start(&self, name: &InstanceName, turn: &Turn) -> Result<(), ProviderError> {
        let log = self.folder(name).join("lxc.log");
        absent_is_fine(std::fs::remove_file(&log)).map_err(|e| io_error("remove", &log, e))?;
        let log_text = log.display().to_string();
        let argv = self.tool("lxc-start", name, &["-d", "-o", &log_text, "-l", "WARN"]);
        let started = to_the_end(turn, async move { run_tool(&argv).await }).await;
        let Err(error) = started else { return Ok(()) };
        // The start of a controller that was killed may have come first.
        if self.running()?.contains(name.as_str()) {
            return Ok(());
        }
        Err(words::plainly(match error {
            // The tool itself only says that a log may tell more.
            ProviderError::Command { command, status, .. } => {
                ProviderError::Command { command, status, output: self.lxc_errors(name) }
            }
            other => other,
        }))
    }

    fn lxc_errors(&self, name: &InstanceName) -> String {
        let output = std::fs::read_to_string(self.folder(name).join("lxc.log")).unwrap_or_default();
        let errors: Vec<&str> = output.lines().filter(|line| line.contains(" ERROR ")).collect();
        errors.join("\n")
    }

    /// Why an instance that was just started does not run, if so: half of its files may have been deleted by hand.
    fn ended_at_once(&self, name: &InstanceName) -> Result<Option<ProviderError>, ProviderError> {
        if self.running()?.contains(name.as_str()) {
            return Ok(None);
        }
        let command = format!("lxc-start -n {name}");
        Ok(Some(ProviderError::Command { command, status: "it ended at once".into(), output: self.lxc_errors(name) }))
    }

    async fn lxc(&self, tool: &str, name: &InstanceName, arguments: &[&str]) -> Result<Vec<u8>, ProviderError> {
        run_tool(&self.tool(tool, name, arguments)).await.map_err(words::plainly)
    }

    fn tool(&self, tool: &str, name: &InstanceName, arguments: &[&str]) -> Vec<String> {
        let path = self.settings.lxc_path.display().to_string();
        let place = [tool, "-P", &path, "-n", name.as_str()];
        place.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
    }

    /// Names of the containers that run under the LXC path: each has a command socket.
    pub fn running(&self) -> Result<BTreeSet<String>, ProviderError> {
        let table = Path::new("/proc/net/unix");
        let text = std::fs::read_to_string(table).map_err(|e| io_error("read", table, e))?;
        let prefix = format!("@{}/", self.settings.lxc_path.display());
        let name = |line: &str| {
            let at = line.find(&prefix)?;
            line[at + prefix.len()..].strip_suffix("/command").map(str::to_owned)
        };
        Ok(text.lines().filter_map(name).collect())
    }

    /// The machine's init, remembered as long as it lives.
    pub async fn init(&self, name: &InstanceName) -> Result<Arc<Init>, ProviderError> {
        let known = locked(&self.inits).get(name).cloned();
        if let Some(init) = known.filter(|init| init.is_alive()) {
            return Ok(init);
        }
        self.record(name)?;
        let not_running = || ProviderError::NotRunning { name: name.clone() };
        if !self.running()?.contains(name.as_str()) {
            return Err(if self.is_made(name) { not_running() } else { ProviderError::NoInstance(name.clone()) });
        }
        let output = self.lxc("lxc-info", name, &["-p", "-H"]).await?;
        let pid: i32 = String::from_utf8_lossy(&output).trim().parse().map_err(|_| not_running())?;
        let entered = |source: rustix::io::Errno| ProviderError::Enter { name: name.clone(), source: source.into() };
        let number = Pid::from_raw(pid).ok_or_else(not_running)?;
        let handle = pidfd_open(number, PidfdFlags::empty()).map_err(entered)?;
        let init = Arc::new(Init { pid, handle });
        locked(&self.inits).insert(name.clone(), init.clone());
        Ok(init)
    }

    /// Returns when the instance does not run any more. If it restarts itself the monitor stays, and a new init comes.
    pub async fn wait_end(&self, name: &InstanceName) {
        while let Ok(init) = self.init(name).await {
            init.ended().await;
            let begun = Instant::now();
            while begun.elapsed() < RESTART_LIMIT && self.running().is_ok_and(|names| names.contains(name.as_str())) {
                if self.init(name).await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Waits until the machine has started what it starts at boot, or long enough.
    pub async fn services_up(&self, name: &InstanceName) {
        let argv = ["systemctl", "is-system-running", "--wait"].map(str::to_owned).to_vec();
        let request = ExecRequest { argv, timeout: Some(BOOT_LIMIT), ..ExecRequest::default() };
        match self.exec(name, request).await {
            Ok(mut execution) => {
                let ended = execution.control.wait().await;
                tracing::debug!("{name} has booted: {ended:?}");
            }
            Err(error) => tracing::warn!("whether {name} has booted cannot be asked: {error}"),
        }
    }

    pub fn files<'a>(&'a self, name: &'a InstanceName, init: &Init) -> MachineFiles<'a> {
        MachineFiles { helper: &self.settings.helper, name, init: init.pid }
    }

    /// Shuts the machine down and unmounts its root.
    pub async fn halt(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.lxc_stop(name, &["-t", HALT_SECONDS]).await?;
        unmount_all(&self.folder(name).join("rootfs"))
    }

    async fn lxc_stop(&self, name: &InstanceName, arguments: &[&str]) -> Result<(), ProviderError> {
        if !self.running()?.contains(name.as_str()) {
            return Ok(());
        }
        let stopped = self.lxc("lxc-stop", name, arguments).await;
        // It may have ended by itself meanwhile, or its configuration was deleted by hand.
        if stopped.is_err() && self.running()?.contains(name.as_str()) {
            let init = self.init(name).await?;
            let killed = pidfd_send_signal(&init.handle, Signal::KILL);
            killed.map_err(|source| ProviderError::Enter { name: name.clone(), source: source.into() })?;
            let deadline = Instant::now() + Duration::from_secs(5);
            while self.running()?.contains(name.as_str()) && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    /// Removes everything of the instance, the record last.
    pub async fn end(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let _turn = self.turn(name).await;
        self.lxc_stop(name, &["-k"]).await?;
        let folders = [self.scratch(name, true), self.folder(name)];
        unmount_all(&self.folder(name).join("rootfs"))?;
        let removal = tokio::task::spawn_blocking(move || folders.iter().try_for_each(|folder| remove_tree(folder)));
        removal.await.map_err(|e| io_error("remove", &self.folder(name), std::io::Error::other(e)))??;
        remove_cgroups(name);
        self.remove_lock(name);
        self.strike_off(name)
    }

    /// The tools' lock file, which they leave. Best effort: it is empty, and ends with the next reboot.
    fn remove_lock(&self, name: &InstanceName) {
        let path = self.settings.lxc_path.strip_prefix("/").unwrap_or(&self.settings.lxc_path);
        let _ = std::fs::remove_file(Path::new("/run/lxc/lock").join(path).join(format!(".{name}")));
    }

    /// Keeps what was written in the halted build instance as a layer.
    pub async fn keep_layer(&self, name: &InstanceName, key: &str) -> Result<(), ProviderError> {
        let upper = self.scratch(name, true).join("upper");
        let layer = self.layer_folder(key);
        let layers = self.settings.cache_dir.join("layers");
        make_private_folder(&layers)?;
        let work = tokio::task::spawn_blocking(move || {
            strip_layer(&upper)?;
            // A build instance writes without care for a crash; a layer that has its name must be whole.
            let folder = std::fs::File::open(&upper).map_err(|e| io_error("open", &upper, e))?;
            syncfs(&folder).map_err(|e| io_error("sync", &upper, e.into()))?;
            match std::fs::rename(&upper, &layer) {
                // Another environment was faster; the content is the same.
                Err(_) if layer.is_dir() => Ok(()),
                other => other.map_err(|e| io_error("keep", &layer, e)),
            }
        });
        work.await.map_err(|e| io_error("keep", &layers, std::io::Error::other(e)))?
    }
}

/// Waits until systemd takes orders: its private socket accepts.
async fn wait_ready(name: &InstanceName, init: &Init) -> Result<(), ProviderError> {
    let socket = PathBuf::from(format!("/proc/{}/root/run/systemd/private", init.pid));
    let begun = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let last = match tokio::net::UnixStream::connect(&socket).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !init.is_alive() {
            return Err(ProviderError::NotRunning { name: name.clone() });
        }
        if begun.elapsed() > READY_LIMIT {
            let output = format!("systemd does not answer: {last}");
            return Err(ProviderError::NotReady { name: name.clone(), seconds: READY_LIMIT.as_secs(), output });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes from a build instance's writing what belongs to that instance and not to the layer.
fn strip_layer(upper: &Path) -> Result<(), ProviderError> {
    let own = ["etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/machine-id", "var/lib/systemd/random-seed"];
    for path in own {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some(folder) = open_inside(upper, parent)? {
            remove_entry(&through(&folder).join(name))?;
        }
    }
    for path in ["run", "tmp", "var/tmp", "var/log/journal"] {
        let Some(folder) = open_inside(upper, path)? else { continue };
        for entry in folder_entries(&through(&folder))? {
            remove_entry(&through(&folder).join(entry))?;
        }
    }
    Ok(())
}

/// Removes a file, a link or a whole folder, following no link at its end.
fn remove_entry(path: &Path) -> Result<(), ProviderError> {
    let is_folder = std::fs::symlink_metadata(path).is_ok_and(|data| data.is_dir());
    let removed = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    absent_is_fine(removed).map_err(|e| io_error("remove", path, e))
}

/// Opens a folder below `base` following no symlink: what a charm wrote must not lead out of its layer.
fn open_inside(base: &Path, path: &str) -> Result<Option<OwnedFd>, ProviderError> {
    let base_folder = std::fs::File::open(base).map_err(|e| io_error("open", base, e))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(&base_folder, path, flags, Mode::empty(), resolve) {
        Ok(folder) => Ok(Some(folder)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(None),
        Err(error) => Err(io_error("open", &base.join(path), error.into())),
    }
}

fn through(folder: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

/// A mount point lies on another device than its folder.
fn is_mounted(target: &Path) -> Result<bool, ProviderError> {
    let device = |path: &Path| match std::fs::metadata(path) {
        Ok(data) => Ok(Some(data.dev())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("stat", path, error)),
    };
    let parent = target.parent().map(device).transpose()?.flatten();
    Ok(device(target)?.is_some_and(|own| parent.is_some_and(|parent| parent != own)))
}

fn unmount_all(target: &Path) -> Result<(), ProviderError> {
    while is_mounted(target)? {
        unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|e| io_error("unmount", target, e.into()))?;
    }
    Ok(())
}

/// Groups that LXC left behind, which it does when a command was still in one. Best effort: an empty group costs nothing.
fn remove_cgroups(name: &InstanceName) {
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

fn host_cgroups() -> HostCgroups {
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

/// First host id of the machines.
pub fn first_id() -> Result<u32, ProviderError> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    idmap::root_range(&read("/etc/subuid"), &read("/etc/subgid")).ok_or(ProviderError::NoIdRange)
}

pub fn host_hardware() -> Hardware {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes =
        info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    Hardware { arch: arch.into(), cores, memory: kilobytes.unwrap_or_default() / 1024 }
}

/// What the machine has of the host.
pub fn limited_hardware(record: &InstanceRecord) -> Hardware {
    let host = host_hardware();
    Hardware {
        cores: record.cores.map_or(host.cores, |cores| cores.min(host.cores)),
        memory: record.memory.map_or(host.memory, |memory| memory.min(host.memory)),
        arch: host.arch,
    }
}
