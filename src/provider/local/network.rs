//! Decisions about an environment's network: subnet, addresses, names, firewall text. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::model::MachineId;
use crate::provider::{InstanceName, PublishedPort};

/// Where bridges' subnets are taken from: rarely used by routers, VPNs and other container tools.
pub const POOL: &str = "10.160.0.0/12";

/// A bridge has at most 1024 ports, so a subnet holds no more machines than that.
pub const PREFIX: u8 = 22;

/// The network of an environment once chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkChoice {
    pub bridge: String,
    pub subnet: Ipv4Net,
}

impl NetworkChoice {
    /// The bridge's own address.
    pub fn gateway(&self) -> Ipv4Addr {
        self.subnet.hosts().next().unwrap_or(self.subnet.addr())
    }

    /// The lowest address that no machine has.
    pub fn free_address(&self, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        self.subnet.hosts().skip(1).find(|address| !taken.contains(address))
    }
}

/// The hardware address that belongs to an address: always the same, and of no maker's. Neighbours remember it for half a
/// minute: a machine that is started again must not have another.
pub fn hardware_address(address: Ipv4Addr) -> String {
    let [_, a, b, c] = address.octets();
    format!("02:e4:c0:{a:02x}:{b:02x}:{c:02x}")
}

/// A subnet of the pool that overlaps none of `taken`. `seed` spreads environments, so that two that are made at the
/// same moment do not choose the same.
pub fn choose_subnet(taken: &[Ipv4Net], seed: u32) -> Option<Ipv4Net> {
    let pool: Ipv4Net = POOL.parse().ok()?;
    let candidates: Vec<Ipv4Net> = pool.subnets(PREFIX).ok()?.collect();
    let begin = seed as usize % candidates.len().max(1);
    let free = |candidate: &&Ipv4Net| taken.iter().all(|net| !net.contains(*candidate) && !candidate.contains(net));
    candidates[begin..].iter().chain(&candidates[..begin]).find(free).copied()
}

/// What `ip -j route` and `ip -j address` tell of networks in use. The default route is none.
pub fn networks_in_use(routes: &serde_json::Value, addresses: &serde_json::Value) -> Vec<Ipv4Net> {
    let destinations = routes.as_array().into_iter().flatten().filter_map(|route| {
        let text = route.get("dst")?.as_str()?;
        text.parse().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
    });
    let own = addresses.as_array().into_iter().flatten().flat_map(|link| {
        let infos = link.get("addr_info").and_then(|infos| infos.as_array()).cloned().unwrap_or_default();
        infos.into_iter().filter_map(|info| {
            let address: Ipv4Addr = info.get("local")?.as_str()?.parse().ok()?;
            let prefix = u8::try_from(info.get("prefixlen")?.as_u64()?).ok()?;
            Ipv4Net::new(address, prefix).ok().map(|net| net.trunc())
        })
    });
    destinations.chain(own).filter(|net| net.prefix_len() > 0).collect()
}

/// The name servers of a `resolv.conf`: they may lie in a network without a route of its own.
pub fn name_servers(resolv_conf: &str) -> Vec<Ipv4Net> {
    resolv_conf
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<Ipv4Addr>().ok())
        .map(Ipv4Net::from)
        .collect()
}

/// The hosts file of the name server: each machine by its full name and as `machine-<n>` or `machine-<n>-lxc-<m>`.
pub fn render_hosts(machines: &BTreeMap<InstanceName, Ipv4Addr>) -> String {
    let mut text = String::new();
    for (name, address) in machines {
        let _ = write!(text, "{address} {name}");
        if let Some(alias) = machine_alias(name.as_str()) {
            let _ = write!(text, " {alias}");
        }
        text.push('\n');
    }
    text
}

/// `machine-3` of `ana-local-machine-3`.
fn machine_alias(name: &str) -> Option<&str> {
    let (begin, _) = name.rsplit_once("-machine-")?;
    let alias = &name[begin.len() + 1..];
    MachineId::from_tag(alias).map(|_| alias)
}

/// The whole table, to be loaded by one `nft -f -`: the kernel replaces it in one transaction.
///
/// Its drop is final whatever other tables accept; what other tables drop it cannot bring back.
pub fn render_firewall(table: &str, network: &NetworkChoice, ports: &[PublishedPort]) -> String {
    let NetworkChoice { bridge, subnet } = network;
    let mut mapped = Vec::new();
    let mut opened = Vec::new();
    for port in ports {
        let PublishedPort { protocol, host_port, address, port: inner } = port;
        match host_port {
            Some(outer) => mapped.push(format!("{protocol} . {outer} : {address} . {inner}")),
            None => opened.push(format!("{address} . {protocol} . {inner}")),
        }
    }
    let elements = |list: &mut Vec<String>| {
        list.sort();
        list.dedup();
        if list.is_empty() { String::new() } else { format!("  elements = {{ {} }}\n", list.join(", ")) }
    };
    let (mapped, opened) = (elements(&mut mapped), elements(&mut opened));
    format!(
        "\
table ip {table} {{
}}
delete table ip {table}
table ip {table} {{
 map mapped {{
  type inet_proto . inet_service : ipv4_addr . inet_service
{mapped} }}
 set opened {{
  type ipv4_addr . inet_proto . inet_service
{opened} }}
 chain from_outside {{
  type nat hook prerouting priority dstnat; policy accept;
  fib daddr type local dnat ip to meta l4proto . th dport map @mapped
 }}
 chain from_host {{
  type nat hook output priority -100; policy accept;
  fib daddr type local dnat ip to meta l4proto . th dport map @mapped
 }}
 chain leaving {{
  type nat hook postrouting priority srcnat; policy accept;
  ct status dnat ip saddr {subnet} ip daddr {subnet} masquerade
  ct status dnat ip saddr 127.0.0.0/8 oifname \"{bridge}\" masquerade
  ip saddr {subnet} ip daddr != {subnet} oifname != \"{bridge}\" masquerade
 }}
 chain passing {{
  type filter hook forward priority -10; policy accept;
  oifname != \"{bridge}\" accept
  iifname \"{bridge}\" accept
  ct state established,related accept
  ct status dnat accept
  ip daddr . meta l4proto . th dport @opened accept
  drop
 }}
}}
"
    )
}

/// The configuration of the name server on the bridge.
pub fn render_dnsmasq(network: &NetworkChoice, runtime: &std::path::Path) -> String {
    let (bridge, gateway, runtime) = (&network.bridge, network.gateway(), runtime.display());
    format!(
        "\
# Names only: addresses are given by the controller.
interface={bridge}
listen-address={gateway}
bind-interfaces
except-interface=lo
no-hosts
addn-hosts={runtime}/hosts
pid-file={runtime}/dnsmasq.pid
local-ttl=5
domain-needed
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn network() -> NetworkChoice {
        NetworkChoice { bridge: "enc1".into(), subnet: net("10.160.4.0/22") }
    }

    #[test]
    fn a_subnet_avoids_everything_in_use() {
        assert_eq!(choose_subnet(&[], 0), Some(net("10.160.0.0/22")));
        assert_eq!(choose_subnet(&[net("10.160.0.0/24"), net("10.160.6.7/32")], 0), Some(net("10.160.8.0/22")));
        assert_eq!(choose_subnet(&[], 1023), Some(net("10.175.252.0/22")));
        assert_eq!(choose_subnet(&[net("10.175.252.0/22")], 1023), Some(net("10.160.0.0/22")));
        assert_eq!(choose_subnet(&[net("10.0.0.0/8")], 5), None);
    }

    #[test]
    fn routes_and_addresses_are_in_use_but_the_default_route_is_not() {
        let routes = serde_json::json!([{"dst": "default"}, {"dst": "172.17.0.0/16"}, {"dst": "10.9.8.7"}]);
        let addresses = serde_json::json!([{"addr_info": [
            {"local": "192.0.2.2", "prefixlen": 24}, {"local": "fe80::1", "prefixlen": 64}]}]);
        let expected = [net("172.17.0.0/16"), net("10.9.8.7/32"), net("192.0.2.0/24")];
        assert_eq!(networks_in_use(&routes, &addresses), expected);
        assert_eq!(name_servers("# x\nnameserver 10.255.255.53\nsearch a\n"), [net("10.255.255.53/32")]);
    }

    #[test]
    fn the_lowest_free_address_is_given_and_the_gateway_never() {
        let network = network();
        assert_eq!(network.gateway(), Ipv4Addr::new(10, 160, 4, 1));
        let mut taken = BTreeSet::new();
        assert_eq!(network.free_address(&taken), Some(Ipv4Addr::new(10, 160, 4, 2)));
        taken.extend([Ipv4Addr::new(10, 160, 4, 2), Ipv4Addr::new(10, 160, 4, 4)]);
        assert_eq!(network.free_address(&taken), Some(Ipv4Addr::new(10, 160, 4, 3)));
        taken.extend(network.subnet.hosts());
        assert_eq!(network.free_address(&taken), None);
    }

    #[test]
    fn machines_have_a_short_name_and_build_instances_have_not() {
        let machine = |text: &str, last| (InstanceName::new(text).unwrap(), Ipv4Addr::new(10, 160, 4, last));
        let machines = [
            machine("ana-machine-x-machine-12", 3),
            machine("ana-local-build-1", 2),
            machine("ana-local-machine-1-lxc-0", 4),
        ];
        let machines = machines.into();
        let expected = "10.160.4.2 ana-local-build-1\n10.160.4.4 ana-local-machine-1-lxc-0 machine-1-lxc-0\n\
                        10.160.4.3 ana-machine-x-machine-12 machine-12\n";
        assert_eq!(render_hosts(&machines), expected);
    }

    #[test]
    fn published_ports_are_elements_and_an_empty_table_has_none() {
        let port = |host_port| PublishedPort {
            protocol: "tcp".into(),
            host_port,
            address: Ipv4Addr::new(10, 160, 4, 2),
            port: 80,
        };
        let text = render_firewall("encanto_x", &network(), &[port(Some(8080)), port(None), port(None)]);
        assert!(text.contains("elements = { tcp . 8080 : 10.160.4.2 . 80 }"));
        assert!(text.contains("elements = { 10.160.4.2 . tcp . 80 }"));
        assert!(text.starts_with("table ip encanto_x {\n}\ndelete table ip encanto_x\n"));
        assert!(!render_firewall("encanto_x", &network(), &[]).contains("elements"));
    }
}
