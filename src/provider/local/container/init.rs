//! The first process of a machine: when it takes orders.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::provider::local::process::Process;
use crate::provider::{InstanceName, ProviderError};

/// How long systemd may take until it accepts orders. Usually a tenth of a second.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long a machine may be without init while it restarts itself.
pub const RESTART_LIMIT: Duration = Duration::from_secs(5);

/// Waits until systemd takes orders: its private socket accepts.
pub async fn wait_ready(name: &InstanceName, init: &Process) -> Result<(), ProviderError> {
    let socket = PathBuf::from(format!("/proc/{}/root/run/systemd/private", init.pid));
    let begun = Instant::now();
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
        // Nobody tells, from outside, when it listens. To ask again after a sixteenth of the time adds as much at most.
        let pause = begun.elapsed() / 16;
        tokio::time::sleep(pause.clamp(Duration::from_millis(2), Duration::from_millis(50))).await;
    }
}
