//! Containers that are somebody's and were adopted: they keep their files, their configuration and their own network,
//! and get a second cable to the bridge.
//!
//! What comes in by that cable is answered by it, so that a port can be published whatever else the container is
//! connected to; its default route is left alone. All of it goes with the cable, but for one rule that
//! [`unplug`] takes back.

use std::path::Path;

use super::{ContainerDriver, Runtime};
use crate::provider::ProviderError;
use crate::provider::command::run;
use crate::provider::local::cable::port;
use crate::provider::local::driver::{Machine, Wiring};
use crate::provider::local::helper::payload_folders;
use crate::provider::local::host::allow_hairpin;
use crate::provider::local::process::Process;

/// Number of the routing table in the container for what comes in by our cable: few choose numbers like it.
pub const TABLE: &str = "60416";

impl<R: Runtime> ContainerDriver<R> {
    /// Connects the container, which runs, unless it is connected.
    pub(super) async fn plug(&self, machine: &Machine, init: &Process) -> Result<(), ProviderError> {
        let Wiring { cable, bridge, .. } = &machine.wiring;
        if shares_network(init.pid) {
            return Err(ProviderError::SharedNetwork(machine.label().to_owned()));
        }
        if !port(cable).exists() {
            self.lay_second_cable(machine, init).await?;
        }
        run(&["ip", "link", "set", "dev", cable, "master", bridge, "up"], b"").await?;
        allow_hairpin(cable)
    }

    /// The tools are the host's: the container may have none.
    pub(super) async fn lay_second_cable(&self, machine: &Machine, init: &Process) -> Result<(), ProviderError> {
        let Wiring { cable, interface, hardware, address, prefix, gateway, .. } = &machine.wiring;
        let (pid, address, gateway) = (init.pid.to_string(), address.to_string(), gateway.to_string());
        let peer = ["peer", "name", interface.as_str(), "address", hardware.as_str(), "netns", pid.as_str()];
        run(&[&["ip", "link", "add", cable, "type", "veth"][..], &peer].concat(), b"").await?;
        let inside = ["nsenter", "-t", &pid, "-n", "ip"];
        let network = format!("{address}/{prefix}");
        for arguments in [
            &["address", "replace", &network, "dev", interface][..],
            &["link", "set", interface, "up"],
            &["route", "replace", "default", "via", &gateway, "dev", interface, "table", TABLE],
        ] {
            run(&[&inside[..], arguments].concat(), b"").await?;
        }
        take_back_rule(&pid, &address).await;
        run(&[&inside[..], &["rule", "add", "from", &address, "lookup", TABLE]].concat(), b"").await.map(drop)
    }
}

/// Takes away what was added to a container, if it runs.
pub async fn unplug(machine: &Machine, init: Option<&Process>) -> Result<(), ProviderError> {
    let Wiring { cable, address, .. } = &machine.wiring;
    if let Some(init) = init {
        take_back_rule(&init.pid.to_string(), &address.to_string()).await;
        remove_leaf(init.pid);
    }
    if port(cable).exists() {
        run(&["ip", "link", "delete", "dev", cable], b"").await?;
    }
    Ok(())
}

/// There may be none.
async fn take_back_rule(pid: &str, address: &str) {
    let argv = ["nsenter", "-t", pid, "-n", "ip", "rule", "delete", "from", address, "lookup", TABLE];
    if let Err(error) = run(&argv, b"").await {
        tracing::debug!("no rule was taken back: {error}");
    }
}

/// The group in which commands were run that were entered. Best effort: one may still be at it, and an empty group costs
/// nothing.
fn remove_leaf(init: i32) {
    let text = std::fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap_or_default();
    let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for folder in payload_folders(&text, pure) {
        let _ = std::fs::remove_dir(folder.join("encanto"));
    }
}

/// Whether the container has the host's network: an address in it would be the host's own.
pub fn shares_network(init: i32) -> bool {
    let space = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    space(&init.to_string()) == space("self")
}
