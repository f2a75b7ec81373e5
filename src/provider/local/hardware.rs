//! What this host has, and what of it a machine may use.

use crate::provider::Hardware;

/// What something gets at most of the host; `None` is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Megabytes.
    pub memory: Option<u64>,
    pub cores: Option<u32>,
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

/// What is left of the host.
pub fn limited_hardware(limits: Limits) -> Hardware {
    let host = host_hardware();
    Hardware {
        cores: limits.cores.map_or(host.cores, |cores| cores.min(host.cores)),
        memory: limits.memory.map_or(host.memory, |memory| memory.min(host.memory)),
        arch: host.arch,
    }
}
