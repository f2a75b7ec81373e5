//! What this host has, and what of it a machine may use.

use super::record::InstanceRecord;
use crate::provider::Hardware;

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
