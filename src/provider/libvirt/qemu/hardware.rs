//! What a virtual machine has.

use super::domains::Domains;
use crate::provider::local::hardware::host_hardware;
use crate::provider::local::record::InstanceRecord;
use crate::provider::{Hardware, InstanceName, ProviderError};

/// Megabytes of a machine whose constraints say nothing. A database and a web server fit.
const MEMORY: u64 = 1024;

/// With less the kernel does not come up.
const LEAST_MEMORY: u64 = 256;

/// Of one of ours: less than the host, and never nothing in particular.
pub fn own_hardware(record: &InstanceRecord) -> Hardware {
    let host = host_hardware();
    Hardware {
        cores: record.cores.unwrap_or(1).clamp(1, host.cores.max(1)),
        memory: record.memory.unwrap_or(MEMORY).min(host.memory).max(LEAST_MEMORY),
        arch: host.arch,
    }
}

/// Of one that somebody defined, as libvirt has it.
pub async fn defined_hardware((domains, name): (Domains, InstanceName)) -> Result<Hardware, ProviderError> {
    let told = domains.with(&name, |domain| domain.get_info()).await?;
    Ok(Hardware { cores: told.nr_virt_cpu, memory: told.memory / 1024, ..host_hardware() })
}
