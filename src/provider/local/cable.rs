//! The cables between machines and the bridge: plugged in again when somebody pulled them out.
//!
//! A machine that is worked on is left alone: while it starts, its cable comes by itself.

use std::path::{Path, PathBuf};

use super::host::{allow_hairpin, link_is_up};
use super::network::{NetworkChoice, hardware_address};
use super::{LocalProvider, digest_hex, locked};
use crate::provider::command::run;
use crate::provider::{ExecRequest, InstanceName, Provider as _, ProviderError};

/// Name of the host's end of the network cable: the kernel allows 15 bytes.
pub fn cable(name: &InstanceName) -> String {
    format!("ve{}", &digest_hex(name.as_str().as_bytes())[..12])
}

fn port(cable: &str) -> PathBuf {
    Path::new("/sys/class/net").join(cable)
}

fn is_plugged_in(cable: &str) -> bool {
    port(cable).join("brport").exists() && link_is_up(cable)
}

impl LocalProvider {
    /// Machines that run and have no connection.
    pub async fn unplugged(&self) -> Result<Vec<InstanceName>, ProviderError> {
        let running = self.running()?;
        let names: Vec<InstanceName> = locked(&self.records).keys().cloned().collect();
        let loose = |name: &&InstanceName| running.contains(name.as_str()) && !is_plugged_in(&cable(name));
        let mut unplugged = Vec::new();
        for name in names.iter().filter(loose) {
            let turn = locked(&self.turns).entry(name.clone()).or_default().clone();
            // One that restarts itself has no first process for a moment.
            if turn.try_lock().is_ok() && self.init(name).await.is_ok() {
                unplugged.push(name.clone());
            }
        }
        Ok(unplugged)
    }

    /// Connects every machine that runs with the bridge.
    pub async fn plug_in(&self, network: &NetworkChoice) -> Result<(), ProviderError> {
        for name in self.unplugged().await? {
            let _turn = self.turn(&name).await;
            if self.init(&name).await.is_err() {
                continue; // it has ended meanwhile
            }
            let cable = cable(&name);
            let lost = !port(&cable).exists();
            if lost {
                self.lay(&name, &cable).await?;
            }
            run(&["ip", "link", "set", "dev", &cable, "master", &network.bridge, "up"], b"").await?;
            allow_hairpin(&cable)?;
            if lost {
                self.address(&name, network).await?;
            }
        }
        Ok(())
    }

    /// A new cable, as LXC made the first.
    async fn lay(&self, name: &InstanceName, cable: &str) -> Result<(), ProviderError> {
        let (init, record) = (self.init(name).await?, self.record(name)?);
        let (pid, hardware) = (init.pid.to_string(), hardware_address(record.address));
        let peer = ["peer", "name", "eth0", "address", &hardware, "netns", &pid];
        run(&[&["ip", "link", "add", cable, "type", "veth"][..], &peer].concat(), b"").await.map(drop)
    }

    /// Sets the machine's own end up as LXC did.
    async fn address(&self, name: &InstanceName, network: &NetworkChoice) -> Result<(), ProviderError> {
        let address = format!("{}/{}", self.record(name)?.address, network.subnet.prefix_len());
        let gateway = network.gateway().to_string();
        for argv in [
            &["ip", "address", "replace", &address, "dev", "eth0"][..],
            &["ip", "link", "set", "eth0", "up"],
            &["ip", "route", "replace", "default", "via", &gateway],
        ] {
            let request =
                ExecRequest { argv: argv.iter().map(|word| (*word).to_owned()).collect(), ..Default::default() };
            let ended = self.exec(name, request).await?.control.wait().await?;
            tracing::debug!("{name}: {argv:?}: {ended:?}");
        }
        Ok(())
    }
}
