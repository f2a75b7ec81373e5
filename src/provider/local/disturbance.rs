//! Sees at once when somebody damages what the machines share: bridge, cables, name server, firewall, forwarding.
//!
//! # Why this shape
//! The kernel tells: rtnetlink of links, addresses and forwarding, nfnetlink of firewall rules, a process handle of the
//! name server's end. What it says is not read. Whatever happened, the present is looked at, so a message that is lost
//! (the socket's buffer overran) or doubled does no harm, and two raw sockets do where a netlink library would come with
//! some thousand lines.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::host::HostNetwork;
use super::record::io_error;
use super::{LocalProvider, locked};
use crate::provider::ProviderError;

/// Groups of rtnetlink, as bits: links, IPv4 addresses, IPv4 settings of interfaces (forwarding).
const LINKS: u32 = 1;
const ADDRESSES: u32 = 1 << 4;
const SETTINGS: u32 = 1 << 23;
/// The group of nfnetlink that tells of tables, chains and rules.
const RULES: u32 = 1 << 6;

/// After the kernel said something: more follows, and LXC needs a moment to plug a new machine in.
const SETTLING: Duration = Duration::from_millis(300);
/// When the kernel cannot be listened to (no file handle is left): look again then.
const BLIND: Duration = Duration::from_secs(10);

/// Two sockets on which the kernel tells of changes.
struct News {
    network: AsyncFd<OwnedFd>,
    firewall: AsyncFd<OwnedFd>,
}

impl News {
    fn subscribe() -> std::io::Result<News> {
        let listen = |protocol: Option<Protocol>, groups: u32| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
            bind(&socket, &SocketAddrNetlink::new(0, groups))?;
            watched(socket)
        };
        // rtnetlink is the protocol with number 0, which is none.
        Ok(News { network: listen(None, LINKS | ADDRESSES | SETTINGS)?, firewall: listen(Some(NETFILTER), RULES)? })
    }

    /// Returns when something was said since the last call.
    async fn next(&self) {
        tokio::select! {
            _ = self.network.readable() => {}
            _ = self.firewall.readable() => {}
        }
        tokio::time::sleep(SETTLING).await;
        drain(&self.network);
        drain(&self.firewall);
    }
}

fn watched(handle: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the handle is owned by what is returned, so it stays the same open file for as long as it is registered.
    unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.map_err(std::io::Error::from)
}

/// Forgets what was said. An overrun buffer is an error once, and then empty like any other.
fn drain(socket: &AsyncFd<OwnedFd>) {
    // Before it is read: what is said after the last reading must count as new.
    let Some(Ok(mut ready)) = futures_util::FutureExt::now_or_never(socket.readable()) else { return };
    let mut heard = [0_u8; 8192];
    // A bound, for a host on which it never falls silent.
    for _ in 0..1000 {
        if recv(socket.get_ref(), &mut heard[..], RecvFlags::empty()).is_err_and(|error| error == Errno::AGAIN) {
            ready.clear_ready();
            return;
        }
    }
}

impl LocalProvider {
    /// Returns what is wrong with the network, as soon as something is.
    pub async fn network_disturbed(&self) -> String {
        loop {
            let watched = self.await_damage().await;
            match watched {
                Ok(words) => return words,
                Err(error) => {
                    tracing::warn!("the host's network cannot be watched: {error:?}");
                    tokio::time::sleep(BLIND).await;
                }
            }
        }
    }

    async fn await_damage(&self) -> Result<String, ProviderError> {
        let news = News::subscribe().map_err(|error| io_error("listen to", Path::new("/proc/net/netlink"), error))?;
        let mut suspected = false;
        loop {
            let damage = self.damage().await?;
            // Twice: a machine that starts is not plugged in for a moment.
            if !damage.is_empty() && suspected {
                return Ok(damage.join(", "));
            }
            suspected = !damage.is_empty();
            if suspected {
                tokio::time::sleep(SETTLING).await;
                continue;
            }
            tokio::select! {
                () = news.next() => {}
                () = self.name_server_ended() => {}
            }
        }
    }

    async fn name_server_ended(&self) {
        let Some(network) = self.known_network() else { return std::future::pending().await };
        if let Some(server) = network.name_server() {
            server.ended().await;
        }
    }

    /// Everything that is not as [`HostNetwork`] made it, in words; empty before the network was made.
    async fn damage(&self) -> Result<Vec<String>, ProviderError> {
        let Some(network) = self.known_network() else { return Ok(Vec::new()) };
        // What is being changed on purpose is no damage.
        let _turn = self.publishing.lock().await;
        let mut damage = network.link_damage();
        if network.name_server().is_none() {
            damage.push("the name server has ended".to_owned());
        }
        let loaded = locked(&self.loaded_firewall).clone();
        if loaded.is_some() && network.listed_firewall().await != loaded {
            damage.push("the firewall table was changed".to_owned());
        }
        let unplugged = self.unplugged().await?;
        damage.extend(unplugged.iter().map(|name| format!("{name} is not plugged in")));
        Ok(damage)
    }

    fn known_network(&self) -> Option<HostNetwork> {
        let choice = locked(&self.network).clone()?;
        Some(self.host_network(choice))
    }
}
