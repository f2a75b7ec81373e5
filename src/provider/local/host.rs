//! Brings an environment's network up and down on the host.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::network::{
    NetworkChoice, POOL, choose_subnet, hardware_address, name_servers, networks_in_use, render_dnsmasq,
    render_firewall, render_hosts,
};
use super::process::Process;
use super::record::{absent_is_fine, io_error};
use crate::provider::command::{replace_file, run};
use crate::provider::{InstanceName, ProviderError, PublishedPort, doctor};

/// How long the name server may take to end.
const NAME_SERVER_LIMIT: Duration = Duration::from_secs(5);

/// Chooses a subnet that nothing on the host uses.
pub async fn choose_network(bridge: &str, seed: u32) -> Result<NetworkChoice, ProviderError> {
    let routes = json(run(&["ip", "-j", "route", "show", "table", "all"], b"").await?);
    let addresses = json(run(&["ip", "-j", "address"], b"").await?);
    let mut taken = networks_in_use(&routes, &addresses);
    taken.extend(name_servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()));
    let subnet = choose_subnet(&taken, seed).ok_or(ProviderError::NoFreeSubnet { tried: POOL.into() })?;
    Ok(NetworkChoice { bridge: bridge.to_owned(), subnet })
}

fn json(output: Vec<u8>) -> serde_json::Value {
    serde_json::from_slice(&output).unwrap_or_default()
}

/// The network of one environment as the host has it.
#[derive(Debug)]
pub struct HostNetwork {
    pub choice: NetworkChoice,
    /// Name of the firewall table.
    pub table: String,
    /// Folder of what ends with a reboot. Readable by the name server, which gives up root.
    pub runtime: PathBuf,
}

impl HostNetwork {
    /// Everything but names and published ports. Idempotent.
    pub async fn bring_up(&self) -> Result<(), ProviderError> {
        doctor::raise_sysctls()?;
        let NetworkChoice { bridge, subnet } = &self.choice;
        let prefix = subnet.prefix_len();
        let gateway = self.choice.gateway();
        if !link_exists(bridge) {
            // An address of its own: else it would change with the machines that come and go.
            let hardware = hardware_address(gateway);
            run(&["ip", "link", "add", bridge, "address", &hardware, "type", "bridge"], b"").await?;
        }
        let address = format!("{gateway}/{prefix}");
        run(&["ip", "address", "replace", &address, "dev", bridge], b"").await?;
        run(&["ip", "link", "set", bridge, "up"], b"").await?;
        set_sysctl("net/ipv4/ip_forward", "1")?;
        // Lets the host reach a published port by 127.0.0.1 too.
        set_sysctl(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1")?;
        Ok(())
    }

    pub async fn load_firewall(&self, ports: &[PublishedPort]) -> Result<(), ProviderError> {
        let text = render_firewall(&self.table, &self.choice, ports);
        run(&["nft", "-f", "-"], text.as_bytes()).await.map(drop)
    }

    /// Starts the name server unless it runs. It makes itself a daemon and outlives the controller.
    pub async fn serve_names(&self, machines: &BTreeMap<InstanceName, Ipv4Addr>) -> Result<(), ProviderError> {
        std::fs::create_dir_all(&self.runtime).map_err(|e| io_error("create", &self.runtime, e))?;
        let configuration = self.runtime.join("dnsmasq.conf");
        let text = render_dnsmasq(&self.choice, &self.runtime);
        let same = std::fs::read_to_string(&configuration).is_ok_and(|old| old == text);
        if !same {
            self.end_name_server().await;
            replace_file(&configuration, text.as_bytes())?;
        }
        self.tell_names(machines)?;
        if self.name_server().is_none() {
            let argument = format!("--conf-file={}", configuration.display());
            run(&["dnsmasq", &argument], b"").await?;
        }
        Ok(())
    }

    /// Makes the machines' names known.
    pub fn tell_names(&self, machines: &BTreeMap<InstanceName, Ipv4Addr>) -> Result<(), ProviderError> {
        let hosts = self.runtime.join("hosts");
        let text = render_hosts(machines);
        if std::fs::read_to_string(&hosts).is_ok_and(|old| old == text) {
            return Ok(());
        }
        replace_file(&hosts, text.as_bytes())?;
        let readable = Permissions::from_mode(0o644);
        std::fs::set_permissions(&hosts, readable).map_err(|e| io_error("open up", &hosts, e))?;
        if let Some(server) = self.name_server() {
            // It may have ended just now; the next `open` starts it again.
            let _ = server.signal(Signal::HUP);
        }
        Ok(())
    }

    /// The running name server of this environment. The number in its file may belong to another process by now.
    pub fn name_server(&self) -> Option<Process> {
        let number: i32 = std::fs::read_to_string(self.runtime.join("dnsmasq.pid")).ok()?.trim().parse().ok()?;
        let server = Process::watch(number).ok()?;
        let command_line = std::fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let ours = self.runtime.join("dnsmasq.conf");
        memchr::memmem::find(&command_line, ours.as_os_str().as_encoded_bytes())?;
        Some(server)
    }

    /// The table as the kernel has it; `None` if there is none.
    pub async fn listed_firewall(&self) -> Option<Vec<u8>> {
        run(&["nft", "list", "table", "ip", &self.table], b"").await.ok()
    }

    /// What is wrong with the bridge and with forwarding, in words.
    pub fn link_damage(&self) -> Vec<String> {
        let mut damage = Vec::new();
        let bridge = &self.choice.bridge;
        if !link_exists(bridge) {
            damage.push(format!("the bridge {bridge} is gone"));
        } else if !link_is_up(bridge) {
            damage.push(format!("the bridge {bridge} is down"));
        } else if !has_address(self.choice.gateway()) {
            damage.push(format!("the bridge {bridge} has lost its address"));
        }
        if std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() != "1") {
            damage.push("net.ipv4.ip_forward was switched off".to_owned());
        }
        damage
    }

    /// Returns when its sockets are free for another one: it removes the file with its number a moment before.
    async fn end_name_server(&self) {
        let Some(server) = self.name_server() else { return };
        for signal in [Signal::TERM, Signal::KILL] {
            // It may have ended just now.
            let _ = server.signal(signal);
            if tokio::time::timeout(NAME_SERVER_LIMIT, server.ended()).await.is_ok() {
                return;
            }
        }
    }

    /// Removes all of it. Idempotent.
    pub async fn take_down(&self) -> Result<(), ProviderError> {
        self.end_name_server().await;
        let bridge = &self.choice.bridge;
        if link_exists(bridge) {
            run(&["ip", "link", "delete", bridge], b"").await?;
        }
        remove_firewall(&self.table).await?;
        absent_is_fine(std::fs::remove_dir_all(&self.runtime)).map_err(|e| io_error("remove", &self.runtime, e))
    }
}

/// Removing a table that is not there would be an error; making it first is none.
async fn remove_firewall(table: &str) -> Result<(), ProviderError> {
    let text = format!("table ip {table} {{\n}}\ndelete table ip {table}\n");
    run(&["nft", "-f", "-"], text.as_bytes()).await.map(drop)
}

pub fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

fn set_sysctl(key: &str, value: &str) -> Result<(), ProviderError> {
    let path = Path::new("/proc/sys").join(key);
    if std::fs::read_to_string(&path).is_ok_and(|old| old.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|e| io_error("set", &path, e))
}

pub fn link_is_up(link: &str) -> bool {
    let flags = std::fs::read_to_string(Path::new("/sys/class/net").join(link).join("flags")).unwrap_or_default();
    u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).is_ok_and(|flags| flags & 1 == 1)
}

/// Whether an address is one of this host's own: the table of routes names each.
fn has_address(address: Ipv4Addr) -> bool {
    let routes = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    routes.contains(&format!("|-- {address}\n"))
}

/// Lets a machine reach its own published port by the host's address.
pub fn allow_hairpin(cable: &str) -> Result<(), ProviderError> {
    let path = Path::new("/sys/class/net").join(cable).join("brport/hairpin_mode");
    std::fs::write(&path, "1").map_err(|e| io_error("set", &path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::command::spawn_speaking;

    /// Else the next one would find the address in use.
    #[tokio::test]
    async fn a_name_server_has_ended_when_it_is_said_to_have() {
        let folder = tempfile::tempdir().unwrap();
        let subnet = "10.160.0.0/22".parse().unwrap();
        let choice = NetworkChoice { bridge: "enc0".into(), subnet };
        let network = HostNetwork { choice, table: "encanto".into(), runtime: folder.path().to_owned() };
        network.end_name_server().await;
        let file = folder.path().join("dnsmasq.pid");
        // As the real one: its file goes first.
        let script = "trap 'rm -f \"$1\"; sleep 0.3; exit' TERM; echo $$ >\"$1\"; while :; do sleep 0.01; done";
        let (file, configuration) = (file.display().to_string(), folder.path().join("dnsmasq.conf"));
        let words = ["sh", "-c", script, "sh", &file, &configuration.display().to_string()];
        let mut server = spawn_speaking(&words, None).unwrap();
        while network.name_server().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        network.end_name_server().await;
        assert!(server.try_wait().unwrap().is_some());
    }
}
