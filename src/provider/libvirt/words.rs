//! libvirt's refusals: its own words, and what to do about them.

use virt::error::{Error, ErrorNumber};

use crate::provider::{ProviderError, systemd};

/// What libvirt said, for the operator.
pub fn refusal(uri: &str, error: &Error) -> ProviderError {
    let lack = lack(error.code(), error.message());
    let remedy = lack.map(|lack| lack.remedy(uri, systemd::runs()));
    ProviderError::Libvirt { words: plainly(error.message()), remedy }
}

/// What is usually missing, and can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Daemon,
    Permission,
    Driver,
    Network,
    Image,
    /// What the image stands on.
    Base,
    AccessToImage,
}

fn lack(code: ErrorNumber, words: &str) -> Option<Lack> {
    let says = |part: &str| words.contains(part);
    match code {
        ErrorNumber::AuthFailed | ErrorNumber::AuthUnavailable | ErrorNumber::AuthCancelled => Some(Lack::Permission),
        // Without a system bus nobody but root can be asked who he is.
        _ if says("system bus connection") => Some(Lack::Permission),
        _ if says("socket to '") && says("Permission denied") => Some(Lack::Permission),
        _ if says("socket to '") => Some(Lack::Daemon),
        _ if says("cannot recv data") || says("client socket is closed") => Some(Lack::Daemon),
        ErrorNumber::NoConnect => Some(Lack::Driver),
        _ if says("no connection driver available") => Some(Lack::Driver),
        ErrorNumber::NoNetwork => Some(Lack::Network),
        _ if says("bridge") && says("No such device") => Some(Lack::Network),
        _ if says("interface") && says("No such device") => Some(Lack::Network),
        _ if says("Permission denied") && (says("image") || says("storage") || says("open '/")) => {
            Some(Lack::AccessToImage)
        }
        _ if says("No such file or directory") && says("backing file") => Some(Lack::Base),
        _ if says("No such file or directory") && (says("storage file") || says("open '/")) => Some(Lack::Image),
        _ => None,
    }
}

impl Lack {
    fn remedy(self, uri: &str, systemd: bool) -> String {
        let driver = if uri.starts_with("lxc") { "lxc" } else { "qemu" };
        match self {
            Self::Daemon if systemd => "start libvirt with `systemctl start libvirtd`".to_owned(),
            Self::Daemon => "start libvirt with `libvirtd --daemon`".to_owned(),
            Self::Permission => "only root, and who is in the group libvirt, may ask libvirt".to_owned(),
            Self::Driver => format!(
                "install libvirt's driver with `apt-get install libvirt-daemon-driver-{driver}`, and restart libvirtd"
            ),
            Self::Network => "the controller brings up its bridge by itself: try again".to_owned(),
            Self::Image => "the machine's disk was removed: destroy the machine and add another".to_owned(),
            Self::Base => {
                "what the machine's disk stands on was removed: bring it back, or destroy the machine and add another"
                    .to_owned()
            }
            Self::AccessToImage => {
                "the user that libvirt runs machines as (libvirt-qemu) must be able to read the image".to_owned()
            }
        }
    }
}

/// Without the words that say nothing. Of a container that does not start libvirt quotes its log, which begins with the
/// whole command line of its init.
fn plainly(message: &str) -> String {
    let message = message.rsplit("Failure in libvirt_lxc startup: ").next().unwrap_or(message).trim();
    message.strip_prefix("internal error: ").unwrap_or(message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libvirt 9.0 says it.
    #[test]
    fn what_has_a_remedy_is_known_by_its_words() {
        let gone = "Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory";
        let refused = "Failed to connect socket to '/var/run/libvirt/libvirt-sock': Connection refused";
        let closed = "Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied";
        let no_bus =
            "internal error: Unable to get system bus connection: Could not connect: No such file or directory";
        let image = "Cannot access storage file '/var/lib/x/disk.qcow2': No such file or directory";
        let base = "Cannot access backing file '/var/lib/x/base.raw' of storage file '/var/lib/x/disk.qcow2' (as \
                    uid:64055, gid:64055): No such file or directory";
        for (code, words, expected) in [
            (ErrorNumber::SystemError, base, Some(Lack::Base)),
            (ErrorNumber::SystemError, gone, Some(Lack::Daemon)),
            (ErrorNumber::SystemError, refused, Some(Lack::Daemon)),
            (ErrorNumber::SystemError, closed, Some(Lack::Permission)),
            (ErrorNumber::InternalError, no_bus, Some(Lack::Permission)),
            (ErrorNumber::AuthUnavailable, "authentication unavailable: no polkit agent", Some(Lack::Permission)),
            (ErrorNumber::NoConnect, "no connection driver available for lxc:///", Some(Lack::Driver)),
            (ErrorNumber::NoNetwork, "Network not found: no network with matching name 'x'", Some(Lack::Network)),
            (ErrorNumber::SystemError, "Cannot get interface MTU on 'x': No such device", Some(Lack::Network)),
            (ErrorNumber::SystemError, image, Some(Lack::Image)),
            (ErrorNumber::OperationInvalid, "domain is already running", None),
        ] {
            assert_eq!(lack(code, words), expected, "{words}");
        }
    }

    #[test]
    fn of_a_log_only_the_failure_is_told() {
        let quoted = "internal error: guest failed to start: umount -R\nwhile read; do\n /sbin/init\n\
                      Failure in libvirt_lxc startup: Cannot get interface MTU on 'x': No such device\n";
        assert_eq!(plainly(quoted), "Cannot get interface MTU on 'x': No such device");
        assert_eq!(plainly("internal error: no such thing"), "no such thing");
    }

    #[test]
    fn the_daemon_is_started_as_the_host_starts_daemons() {
        assert_eq!(Lack::Daemon.remedy("lxc:///", true), "start libvirt with `systemctl start libvirtd`");
        assert_eq!(Lack::Daemon.remedy("lxc:///", false), "start libvirt with `libvirtd --daemon`");
    }

    #[test]
    fn the_driver_that_the_uri_needs_is_named() {
        assert!(Lack::Driver.remedy("lxc:///", true).contains("libvirt-daemon-driver-lxc"));
        assert!(Lack::Driver.remedy("qemu:///system", true).contains("libvirt-daemon-driver-qemu"));
    }
}
