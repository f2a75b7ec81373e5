//! The QEMU process of a machine, as this host sees it.
//!
//! libvirt tells of a domain's end by an event loop, of which there is one a process; a handle on QEMU tells it as well.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::provider::local::process::Process;
use crate::provider::local::record::folder_entries;

/// Where libvirt writes which process runs which machine, and what QEMU says.
const RUNTIME: &str = "/run/libvirt/qemu";
const LOGS: &str = "/var/log/libvirt/qemu";

/// Between two looks where there is no handle: libvirt is just starting or ending it, or keeps its files elsewhere.
const PAUSE: Duration = Duration::from_millis(200);

/// The running process of a machine.
fn process(name: &str) -> Option<Process> {
    let file = PathBuf::from(RUNTIME).join(format!("{name}.pid"));
    let pid: i32 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let process = Process::watch(pid).ok()?;
    // The number may belong to another process by now; while the handle is held it does not change again.
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    memchr::memmem::find(&words, format!("guest={name},").as_bytes())?;
    Some(process)
}

/// Returns when the process has ended, or after a moment if none is seen.
pub async fn ended(name: &str) {
    if let Some(process) = process(name) {
        process.ended().await;
    }
    tokio::time::sleep(PAUSE).await;
}

/// Kills it at once; libvirt sees that by itself.
pub fn kill(name: &str) {
    if let Some(process) = process(name) {
        let _ = process.signal(Signal::KILL);
    }
}

/// What libvirt keeps of what QEMU said, which it never removes. Best effort.
pub fn remove_logs(name: &str) {
    let begins = format!("{name}.log");
    for entry in folder_entries(Path::new(LOGS)).unwrap_or_default() {
        // The log itself, and older parts of it: `.log.0`.
        let Some(rest) = entry.strip_prefix(&begins) else { continue };
        let number = rest.strip_prefix('.').unwrap_or(rest);
        if number.bytes().all(|byte| byte.is_ascii_digit()) {
            let _ = std::fs::remove_file(Path::new(LOGS).join(entry));
        }
    }
}
