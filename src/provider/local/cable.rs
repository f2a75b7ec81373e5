//! The cables between machines and the bridge: plugged in again when somebody pulled them out.
//!
//! A machine that is worked on is left alone: while it starts, its cable comes by itself.

use std::path::{Path, PathBuf};

use super::driver::Wiring;
use super::host::{allow_hairpin, link_is_up};
use super::{LocalProvider, digest_hex, locked};
use crate::provider::command::run;
use crate::provider::{InstanceName, ProviderError};

/// Name of the host's end of the network cable: the kernel allows 15 bytes.
pub fn cable(name: &InstanceName) -> String {
    format!("ve{}", &digest_hex(name.as_str().as_bytes())[..12])
}

pub(super) fn port(cable: &str) -> PathBuf {
    Path::new("/sys/class/net").join(cable)
}

fn is_plugged_in(cable: &str) -> bool {
    port(cable).join("brport").exists() && link_is_up(cable)
}

impl LocalProvider {
    /// Machines that run and have no connection.
    pub async fn unplugged(&self) -> Result<Vec<InstanceName>, ProviderError> {
        let running = self.running().await;
        let mut unplugged = Vec::new();
        for name in running.iter().filter(|name| !is_plugged_in(&cable(name))) {
            let turn = locked(&self.turns).entry(name.clone()).or_default().clone();
            if turn.try_lock().is_err() {
                continue;
            }
            let (driver, machine) = self.reach(name).await?;
            if driver.expects_cable(&machine).await {
                unplugged.push(name.clone());
            }
        }
        Ok(unplugged)
    }

    /// Connects every machine that runs with the bridge.
    pub async fn plug_in(&self) -> Result<(), ProviderError> {
        for name in self.unplugged().await? {
            let _turn = self.turn(&name).await;
            let Ok((driver, machine)) = self.reach(&name).await else { continue };
            if !driver.expects_cable(&machine).await {
                continue; // it has ended meanwhile
            }
            let Wiring { cable, bridge, .. } = &machine.wiring;
            if !port(cable).exists() {
                driver.lay_cable(&machine).await?;
            }
            run(&["ip", "link", "set", "dev", cable, "master", bridge, "up"], b"").await?;
            allow_hairpin(cable)?;
        }
        Ok(())
    }
}
