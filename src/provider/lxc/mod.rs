//! Machines as unprivileged LXC system containers, by the `lxc-*` tools.
//!
//! [`config`] writes what a container is, [`idmap`] finds its ids, [`words`] makes the tools' complaints short. All else
//! is what containers of every kind have in common ([`super::local::container`]).
//!
//! # Limits
//! All machines of a host share root's first id range of `/etc/subuid`. Commands that are entered run without LXC's
//! seccomp filter; the user namespace is the boundary.

mod cgroups;
mod config;
mod foreign;
pub(super) mod idmap;
mod words;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use self::cgroups::{host_cgroups, remove_cgroups};
use self::config::{ContainerConfig, render_config};
use super::command::{replace_file, run};
use super::local::LocalSettings;
use super::local::container::{ContainerDriver, Disk, Runtime};
use super::local::driver::Machine;
use super::local::record::{absent_is_fine, folder_entries, io_error};
use super::local::turn::{Turn, to_the_end};
use super::{Foreign, InstanceName, Kind, ProviderError};

pub const KIND: Kind = Kind { name: "lxc", noun: "LXC container", container: "lxc", caution: None };

const CONSOLE_LOG: &str = "console.log";

pub type LxcDriver = ContainerDriver<Lxc>;

/// A driver for the containers of LXC.
pub fn driver(settings: &LocalSettings) -> LxcDriver {
    ContainerDriver::new(Lxc { settings: settings.clone() }, settings.clone())
}

/// LXC as it is installed on this host.
#[derive(Debug)]
pub struct Lxc {
    settings: LocalSettings,
}

async fn run_tool(argv: &[String]) -> Result<Vec<u8>, ProviderError> {
    run(&argv.iter().map(String::as_str).collect::<Vec<_>>(), b"").await
}

impl Lxc {
    fn folder(&self, machine: &Machine) -> PathBuf {
        self.settings.lxc_path.join(machine.label())
    }

    fn tool(&self, tool: &str, name: &str, arguments: &[&str]) -> Vec<String> {
        let path = self.settings.lxc_path.display().to_string();
        let place = [tool, "-P", &path, "-n", name];
        place.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
    }

    async fn init_of(&self, name: &str) -> Result<Option<i32>, ProviderError> {
        let output = run_tool(&self.tool("lxc-info", name, &["-p", "-H"])).await.map_err(words::plainly)?;
        Ok(String::from_utf8_lossy(&output).trim().parse().ok())
    }

    fn running_now(&self) -> Result<BTreeSet<String>, ProviderError> {
        let table = Path::new("/proc/net/unix");
        let text = std::fs::read_to_string(table).map_err(|e| io_error("read", table, e))?;
        let prefix = format!("@{}/", self.settings.lxc_path.display());
        let name = |line: &str| {
            let at = line.find(&prefix)?;
            line[at + prefix.len()..].strip_suffix("/command").map(str::to_owned)
        };
        Ok(text.lines().filter_map(name).collect())
    }

    fn write_configuration(&self, machine: &Machine) -> Result<(), ProviderError> {
        let disk = Disk::new(&self.settings, &self.settings.lxc_path, machine);
        let config = render_config(&ContainerConfig {
            name: machine.label(),
            root: &disk.root(),
            first_id: idmap::first_id()?,
            console_log: &self.folder(machine).join(CONSOLE_LOG),
            wiring: &machine.wiring,
            memory: machine.record.memory,
            cores: machine.record.cores,
            cgroups: host_cgroups(),
        });
        replace_file(&disk.configuration(), (config + &self.name_server(machine)?).as_bytes())
    }

    /// Whom somebody's folder asks for names while it is a machine: put over its own file, which stays as it is.
    fn name_server(&self, machine: &Machine) -> Result<String, ProviderError> {
        if machine.record.origin.is_none() {
            return Ok(String::new());
        }
        let file = self.folder(machine).join("resolv.conf");
        replace_file(&file, format!("nameserver {}\n", machine.wiring.gateway).as_bytes())?;
        let readable = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&file, readable).map_err(|e| io_error("open up", &file, e))?;
        Ok(format!("lxc.mount.entry = {} etc/resolv.conf none bind,optional 0 0\n", file.display()))
    }

    /// What the tools have to say of a container's start. Nothing is put into the folder of one that is somebody's.
    fn log(&self, machine: &Machine) -> PathBuf {
        match machine.is_guest() {
            true => self.settings.state_dir.join(format!("lxc/{}.log", machine.name)),
            false => self.folder(machine).join("lxc.log"),
        }
    }

    fn errors(&self, machine: &Machine) -> String {
        let output = std::fs::read_to_string(self.log(machine)).unwrap_or_default();
        let errors: Vec<&str> = output.lines().filter(|line| line.contains(" ERROR ")).collect();
        errors.join("\n")
    }

    /// The tools' lock file, which they leave. Best effort: it is empty, and ends with the next reboot.
    fn remove_lock(&self, machine: &Machine) {
        let path = self.settings.lxc_path.strip_prefix("/").unwrap_or(&self.settings.lxc_path);
        let _ = std::fs::remove_file(Path::new("/run/lxc/lock").join(path).join(format!(".{}", machine.label())));
    }
}

#[async_trait]
impl Runtime for Lxc {
    fn kind(&self) -> Kind {
        KIND
    }

    fn home(&self) -> &Path {
        &self.settings.lxc_path
    }

    fn first_id(&self) -> Result<Option<u32>, ProviderError> {
        idmap::first_id().map(Some)
    }

    async fn open(&self) -> Result<(), ProviderError> {
        idmap::first_id().map(drop)
    }

    /// All that it knows of one is in its folder.
    async fn knows(&self, machine: &Machine) -> Result<bool, ProviderError> {
        let label = machine.label();
        if machine.is_guest() || self.is_made_for(label, &machine.wiring.bridge)? {
            return Ok(self.has_container(label));
        }
        let place = self.settings.lxc_path.display().to_string();
        Err(ProviderError::NameTaken { name: label.to_owned(), place })
    }

    async fn start(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        if !machine.is_guest() {
            self.write_configuration(machine)?;
        }
        let log = self.log(machine);
        absent_is_fine(std::fs::remove_file(&log)).map_err(|e| io_error("remove", &log, e))?;
        let log_text = log.display().to_string();
        let argv = self.tool("lxc-start", machine.label(), &["-d", "-o", &log_text, "-l", "WARN"]);
        let started = to_the_end(turn, async move { run_tool(&argv).await }).await;
        let Err(error) = started else { return Ok(()) };
        // The start of a controller that was killed may have come first.
        if self.running_now()?.contains(machine.label()) {
            return Ok(());
        }
        Err(words::plainly(match error {
            // The tool itself only says that a log may tell more.
            ProviderError::Command { command, status, .. } => {
                ProviderError::Command { command, status, output: self.errors(machine) }
            }
            other => other,
        }))
    }

    fn ended_at_once(&self, machine: &Machine) -> ProviderError {
        let command = format!("lxc-start -n {}", machine.label());
        ProviderError::Command { command, status: "it ended at once".into(), output: self.errors(machine) }
    }

    async fn stop(&self, machine: &Machine, limit: Option<Duration>) -> Result<(), ProviderError> {
        let seconds = limit.map(|limit| limit.as_secs().to_string());
        let how: &[&str] = match &seconds {
            Some(seconds) => &["-t", seconds],
            None => &["-k"],
        };
        run_tool(&self.tool("lxc-stop", machine.label(), how)).await.map(drop).map_err(words::plainly)
    }

    async fn forget(&self, machine: &Machine) -> Result<(), ProviderError> {
        remove_cgroups(machine.label());
        self.remove_lock(machine);
        Ok(())
    }

    /// Each has a command socket.
    async fn running(&self) -> Result<BTreeSet<String>, ProviderError> {
        self.running_now()
    }

    async fn init(&self, machine: &Machine) -> Result<Option<i32>, ProviderError> {
        self.init_of(machine.label()).await
    }

    fn console_log(&self, machine: &Machine) -> Option<PathBuf> {
        (!machine.is_guest()).then(|| self.folder(machine).join(CONSOLE_LOG))
    }

    async fn named(&self, prefix: &str) -> Result<Vec<InstanceName>, ProviderError> {
        let entries = folder_entries(&self.settings.lxc_path)?;
        // What is no instance name was not made here.
        let names = entries.into_iter().filter(|e| e.starts_with(prefix)).filter_map(|e| InstanceName::new(e).ok());
        let bridge = self.settings.bridge();
        let ours = names.map(|name| Ok((self.is_made_for(name.as_str(), &bridge)?, name)));
        let ours: Vec<(bool, InstanceName)> = ours.collect::<Result<_, ProviderError>>()?;
        Ok(ours.into_iter().filter_map(|(ours, name)| ours.then_some(name)).collect())
    }

    async fn foreign(&self, prefix: &str) -> Result<Vec<Foreign>, ProviderError> {
        self.others(prefix).await
    }

    async fn forget_guest(&self, machine: &Machine) -> Result<(), ProviderError> {
        let log = self.log(machine);
        absent_is_fine(std::fs::remove_file(&log)).map_err(|e| io_error("remove", &log, e))
    }
}
