//! The daemon that starts containers: whether it can on this host, and whether it sees what is mounted for it.
//!
//! A libvirtd in a mount namespace of its own does not see mounts that come later, unless they are handed on to it. What
//! it does not see by itself is mounted there too.

use std::path::Path;

use tokio::net::UnixStream;

use crate::provider::ProviderError;
use crate::provider::command::run;
use crate::provider::doctor::libvirt::mixed_groups;
use crate::provider::local::LocalSettings;
use crate::provider::local::container::share_mount;
use crate::provider::local::helper::ShareOrder;

/// As processes are named, that of the containers alone first.
const DAEMONS: [&str; 2] = ["virtlxcd", "libvirtd"];

const SOCKETS: [&str; 2] = ["/run/libvirt/virtlxcd-sock", "/run/libvirt/libvirt-sock"];

/// Fails if libvirt could start no container on this host.
pub fn check_groups() -> Result<(), ProviderError> {
    let Some(finding) = mixed_groups() else { return Ok(()) };
    Err(ProviderError::Libvirt { words: finding.problem, remedy: finding.fix.map(|fix| format!("`{fix}` helps")) })
}

/// Makes the mount at `target` visible to the daemon behind the URI.
pub async fn show(settings: &LocalSettings, uri: &str, target: &Path) -> Result<(), ProviderError> {
    let Some(daemon) = stranger(uri).await else { return Ok(()) };
    if sees(daemon, target) {
        return Ok(());
    }
    tracing::debug!("process {daemon} has mounts of its own: {} is mounted there too", target.display());
    share_mount(&settings.helper, ShareOrder { target: target.to_owned(), process: daemon }).await
}

/// Takes the mount at `target` from the daemon, if it has it for itself.
pub async fn hide(uri: &str, target: &Path) -> Result<(), ProviderError> {
    let Some(daemon) = stranger(uri).await else { return Ok(()) };
    if !sees(daemon, target) {
        return Ok(());
    }
    let (space, target) = (format!("--mount=/proc/{daemon}/ns/mnt"), target.display().to_string());
    run(&["nsenter", &space, "umount", "--lazy", &target], b"").await.map(drop)
}

/// The daemon, if its mounts are not ours.
async fn stranger(uri: &str) -> Option<i32> {
    let daemon = match answering(uri).await {
        Some(process) if DAEMONS.contains(&name_of(process).as_str()) => process,
        // systemd opened the socket.
        Some(_) => running()?,
        None => return None,
    };
    let space = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    (space(&daemon.to_string())? != space("self")?).then_some(daemon)
}

/// The process that opened the socket behind the URI.
async fn answering(uri: &str) -> Option<i32> {
    for socket in named_socket(uri).map_or(SOCKETS.to_vec(), |socket| vec![socket]) {
        if let Ok(stream) = UnixStream::connect(socket).await {
            return stream.peer_cred().ok()?.pid();
        }
    }
    None
}

fn named_socket(uri: &str) -> Option<&str> {
    let (_, parameters) = uri.split_once('?')?;
    parameters.split('&').find_map(|parameter| parameter.strip_prefix("socket="))
}

fn running() -> Option<i32> {
    let processes: Vec<i32> =
        std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let mut daemons = DAEMONS.iter();
    daemons.find_map(|daemon| processes.iter().copied().find(|process| name_of(*process) == *daemon))
}

fn name_of(process: i32) -> String {
    std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

fn sees(process: i32, target: &Path) -> bool {
    let mounts = std::fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    is_mounted_in(&mounts, target)
}

/// Whether a text of the form of `/proc/self/mountinfo` has a mount at `target`.
fn is_mounted_in(mounts: &str, target: &Path) -> bool {
    // The kernel writes four kinds of bytes as octal numbers.
    let escaped = target.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040");
    let escaped = escaped.replace('\t', "\\011").replace('\n', "\\012");
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(escaped.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_whole_path() {
        let mounts = "31 23 0:28 / /a/b rw - overlay o rw\n32 23 0:28 / /a\\040b rw - overlay o rw\n";
        assert!(is_mounted_in(mounts, Path::new("/a/b")) && is_mounted_in(mounts, Path::new("/a b")));
        assert!(!is_mounted_in(mounts, Path::new("/a")) && !is_mounted_in(mounts, Path::new("/")));
    }

    #[test]
    fn a_socket_may_be_named_in_the_uri() {
        assert_eq!(named_socket("lxc:///"), None);
        assert_eq!(named_socket("lxc+unix:///system?keyfile=x&socket=/tmp/s"), Some("/tmp/s"));
    }
}
