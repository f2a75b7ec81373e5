//! `status --format short` and `summary`: the texts of Juju 1.25, to the blank.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::status::{in_order, indented, natural};
use crate::api::{EnvironmentStatus, UnitStatus};

/// A line a unit, each after an end of line: `- mysql/0: 10.0.3.11 (started) 3306/tcp`.
pub fn short(status: &EnvironmentStatus) -> String {
    let line = |(depth, name, unit): (usize, &String, &UnitStatus)| {
        let address = unit.public_address.as_deref().map(|address| format!("{address} ")).unwrap_or_default();
        let ports = if unit.open_ports.is_empty() { String::new() } else { format!(" {}", unit.open_ports.join(", ")) };
        indented(depth, &format!("- {name}: {address}({}){ports}", unit.agent_state))
    };
    in_order(status).into_iter().map(|unit| format!("\n{}", line(unit))).collect::<String>() + "\n"
}

pub fn summary(status: &EnvironmentStatus) -> String {
    let addresses: BTreeSet<IpAddr> =
        status.machines_and_containers().filter_map(|(_, m)| m.dns_name.as_ref()?.parse().ok()).collect();
    let ports: BTreeSet<(u32, &str)> = status.units().flat_map(|(_, unit)| &unit.open_ports).map(|p| port(p)).collect();
    let ports: Vec<&str> = ports.into_iter().map(|(_, text)| text).collect();
    let mut head = vec![vec!["Running on subnets:".to_owned(), subnets(addresses).join(", ")]];
    let mut label = "Utilizing ports:";
    for row in ports.chunks(3) {
        head.push(vec![label.to_owned(), row.join(", ")]);
        label = "";
    }
    if ports.is_empty() {
        head.push(vec![label.to_owned(), String::new()]);
    }
    let machines =
        status.machines_and_containers().map(|(_, machine)| machine.agent_state.as_deref().unwrap_or("pending"));
    let workloads = status.units().map(|(_, unit)| unit.workload_status.current.as_str());
    let mut services = vec![vec!["# SERVICES:".to_owned(), format!(" ({})", status.services.len())]];
    let mut sorted: Vec<_> = status.services.iter().collect();
    sorted.sort_by_key(|(name, _)| natural(name));
    services.extend(
        sorted.into_iter().map(|(name, service)| {
            vec![name.clone(), format!("{}/1", u8::from(service.exposed)), "exposed".to_owned()]
        }),
    );
    let blocks = [
        counted("# MACHINES:", status.machines_and_containers().count(), machines),
        counted("# UNITS:", status.units().count(), workloads),
        services,
    ];
    // The first column is as wide in all blocks.
    let width = blocks.iter().flatten().map(|row| row[0].chars().count()).max().unwrap_or(0) + 1;
    let blocks = blocks.map(|rows| rows_right(&rows, width));
    left(&head) + &blocks.join(&format!("{}\n", " ".repeat(width))) + "\n"
}

fn port(text: &str) -> (u32, &str) {
    (text.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(0), text)
}

/// A title with the number of all, then how many are in which state.
fn counted<'a>(title: &str, all: usize, states: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    let rows = counts.into_iter().map(|(state, count)| vec![format!("{state}:"), format!(" {count} ")]);
    std::iter::once(vec![title.to_owned(), format!("({all})")]).chain(rows).collect()
}

/// The addresses that are not in the network of an earlier one, with the width their class has.
fn subnets(addresses: BTreeSet<IpAddr>) -> Vec<String> {
    let network = |address: &IpAddr| match address {
        IpAddr::V4(v4) => {
            let width: u8 = match v4.octets()[0] {
                0..=127 => 8,
                128..=191 => 16,
                _ => 24,
            };
            (width, IpAddr::from((v4.to_bits() >> (32 - width) << (32 - width)).to_be_bytes()))
        }
        IpAddr::V6(v6) => (64, IpAddr::from((v6.to_bits() >> 64 << 64).to_be_bytes())),
    };
    let mut seen = BTreeSet::new();
    let fresh = addresses.into_iter().filter(|address| seen.insert(network(address)));
    fresh.collect::<Vec<_>>().iter().map(|address| format!("{address}/{}", network(address).0)).collect()
}

/// Every cell as wide as the widest of its column and a blank, on the left.
fn left(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + 1;
    let (first, second) = (width(0), width(1));
    rows.iter().map(|row| format!("{:first$}{:second$}\n", row[0], row[1])).collect()
}

/// The same on the right, with a given first column.
fn rows_right(rows: &[Vec<String>], first: usize) -> String {
    let second = rows.iter().map(|row| row[1].chars().count()).max().unwrap_or(0) + 1;
    let line = |row: &Vec<String>| {
        let third = row.get(2).map(|cell| format!(" {cell}")).unwrap_or_default();
        format!("{:>first$}{:>second$}{third}\n", row[0], row[1])
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::graph::samples::{accompanied, wiki};
    use super::*;

    #[test]
    fn short_is_jujus() {
        assert_eq!(
            short(&wiki()),
            "\n- haproxy/0: 10.0.3.11 (started) 80/tcp, 443/tcp\n- mediawiki/0: 10.0.3.12 (started) 80/tcp\n\
             - mediawiki/1: 10.0.3.13 (started) 80/tcp\n- mysql/0: (pending)\n"
        );
        assert_eq!(short(&EnvironmentStatus::default()), "\n");
    }

    #[test]
    fn a_subordinate_stands_below_its_principal_and_is_counted() {
        let status = accompanied();
        assert!(short(&status).ends_with("\n- mysql/0: (pending)\n  - logging/0: 10.0.3.14 (started) 514/udp\n"));
        let text = summary(&status);
        assert!(text.contains("# UNITS: (5)") && text.contains("waiting:  1") && text.contains("514/udp"), "{text}");
    }

    #[test]
    fn summary_is_jujus() {
        assert_eq!(
            summary(&wiki()),
            "Running on subnets: 10.0.3.1/8      \n\
             Utilizing ports:    80/tcp, 443/tcp \n \
             # MACHINES: (5)\n    pending:  1 \n    started:  4 \n            \n    \
             # UNITS: (4)\n     active:  2 \n    blocked:  1 \n    unknown:  1 \n            \n \
             # SERVICES:  (4)\n     haproxy  1/1 exposed\n   mediawiki  0/1 exposed\n    memcache  0/1 exposed\n       \
             mysql  0/1 exposed\n\n"
        );
    }

    #[test]
    fn an_address_in_a_network_seen_already_is_no_other_subnet() {
        let all = ["127.0.0.1", "10.0.0.1", "10.9.9.9", "192.168.1.1", "192.168.2.1", "fd00::1", "fd00::2"];
        let all = all.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(subnets(all), ["10.0.0.1/8", "127.0.0.1/8", "192.168.1.1/24", "192.168.2.1/24", "fd00::1/64"]);
    }
}
