//! Services and their relations as a graph, for the pictures of it.

use std::collections::BTreeSet;

use super::status::worst;
use crate::api::EnvironmentStatus;

#[derive(Debug)]
pub struct Graph {
    /// Sorted by name.
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub charm: String,
    pub state: String,
    /// The workload state of each unit, in their order.
    pub units: Vec<String>,
    pub exposed: bool,
    pub dying: bool,
    /// Names of peer relations.
    pub peers: Vec<String>,
}

/// Between two nodes by their numbers, the smaller first.
#[derive(Debug)]
pub struct Edge {
    pub ends: (usize, usize),
    pub label: String,
    /// The same as read from the other end.
    pub back: String,
}

pub fn graph(status: &EnvironmentStatus) -> Graph {
    let mut services: Vec<_> = status.services.iter().collect();
    services.sort_by_key(|(name, _)| name.as_str());
    let number = |name: &str| services.iter().position(|(other, _)| *other == name);
    let mut pairs = BTreeSet::new();
    let mut nodes = Vec::new();
    for (index, (name, service)) in services.iter().enumerate() {
        let mut peers = Vec::new();
        for (endpoint, others) in &service.relations {
            // With patterns, a service on the other side may not be shown.
            for other in others.iter().filter_map(|other| number(other)) {
                if other == index {
                    peers.push(endpoint.clone());
                } else {
                    pairs.insert((index.min(other), index.max(other)));
                }
            }
        }
        nodes.push(Node {
            name: (*name).clone(),
            charm: service.charm.clone(),
            state: worst(status, name).to_owned(),
            units: status.units_of(name).map(|(_, unit)| unit.workload_status.current.clone()).collect(),
            exposed: service.exposed,
            dying: service.life.is_some(),
            peers,
        });
    }
    let endpoints = |from: usize, to: usize| -> Vec<&str> {
        let to = services[to].0;
        let relations = services[from].1.relations.iter().filter(|(_, others)| others.contains(to));
        relations.map(|(endpoint, _)| endpoint.as_str()).collect()
    };
    let edge = |(from, to)| {
        let (here, there) = (endpoints(from, to), endpoints(to, from));
        Edge { ends: (from, to), label: label(&here, &there), back: label(&there, &here) }
    };
    Graph { nodes, edges: pairs.into_iter().map(edge).collect() }
}

/// Endpoints that have the same name on both sides are named once.
fn label(from: &[&str], to: &[&str]) -> String {
    let both: Vec<&str> = from.iter().filter(|name| to.contains(name)).copied().collect();
    let only =
        |these: &[&str]| these.iter().filter(|name| !both.contains(name)).copied().collect::<Vec<_>>().join(", ");
    let (left, right) = (only(from), only(to));
    let mut parts = both.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    match (left.is_empty(), right.is_empty()) {
        (true, true) => {}
        (false, false) => parts.push(format!("{left} – {right}")),
        _ => parts.push(left + &right),
    }
    parts.join(", ")
}

/// What a state looks like in a picture.
pub fn colour(state: &str) -> &'static str {
    match state {
        "active" => "#2e9e5b",
        "waiting" | "maintenance" => "#d9951a",
        "blocked" | "error" => "#d0433f",
        _ => "#8a93a0",
    }
}

#[cfg(test)]
pub mod samples {
    use crate::api::{EnvironmentStatus, MachineStatus, ServiceStatus, UnitStatus, WorkloadStatusInfo};

    fn unit(state: &str, address: Option<&str>, ports: &[&str]) -> UnitStatus {
        UnitStatus {
            workload_status: WorkloadStatusInfo { current: state.into(), ..Default::default() },
            agent_state: if address.is_some() { "started" } else { "pending" }.into(),
            public_address: address.map(str::to_owned),
            open_ports: ports.iter().map(|port| (*port).to_owned()).collect(),
            ..UnitStatus::default()
        }
    }

    fn service(name: &str, relations: &[(&str, &str)], units: Vec<UnitStatus>) -> ServiceStatus {
        let mut service = ServiceStatus { charm: format!("local:bookworm/{name}-1"), ..ServiceStatus::default() };
        for (endpoint, other) in relations {
            service.relations.entry((*endpoint).to_owned()).or_default().push((*other).to_owned());
        }
        service.units = units.into_iter().enumerate().map(|(n, unit)| (format!("{name}/{n}"), unit)).collect();
        service
    }

    /// The wiki, and a subordinate beside its database.
    pub fn accompanied() -> EnvironmentStatus {
        let mut status = wiki();
        let info = |other: &str| ("info".to_owned(), vec![other.to_owned()]);
        let subordinate_to = vec!["mysql".to_owned()];
        let relations = [info("mysql")].into();
        let logging = ServiceStatus { subordinate_to, relations, ..service("logging", &[], Vec::new()) };
        status.services.insert("logging".to_owned(), logging);
        if let Some(mysql) = status.services.get_mut("mysql") {
            mysql.relations.insert("juju-info".to_owned(), vec!["logging".to_owned()]);
            let beside = unit("waiting", Some("10.0.3.14"), &["514/udp"]);
            mysql.units.values_mut().for_each(|unit| {
                unit.subordinates.insert("logging/0".to_owned(), beside.clone());
            });
        }
        status
    }

    /// A balancer, a wiki, its database, and something nobody talks to.
    pub fn wiki() -> EnvironmentStatus {
        let machine = |id: usize| {
            let address = (id < 4).then(|| format!("10.0.3.{}", [1, 11, 12, 13][id]));
            let agent_state = address.is_some().then(|| "started".to_owned());
            (id.to_string(), MachineStatus { agent_state, dns_name: address, ..MachineStatus::default() })
        };
        let balancer = vec![unit("active", Some("10.0.3.11"), &["80/tcp", "443/tcp"])];
        let wikis =
            vec![unit("active", Some("10.0.3.12"), &["80/tcp"]), unit("blocked", Some("10.0.3.13"), &["80/tcp"])];
        let haproxy = ServiceStatus { exposed: true, ..service("haproxy", &[("reverseproxy", "mediawiki")], balancer) };
        let services = [
            ("mysql", service("mysql", &[("db", "mediawiki"), ("cluster", "mysql")], vec![unit("unknown", None, &[])])),
            ("haproxy", haproxy),
            ("mediawiki", service("mediawiki", &[("database", "mysql"), ("website", "haproxy")], wikis)),
            ("memcache", service("memcache", &[], Vec::new())),
        ];
        EnvironmentStatus {
            environment: "local".into(),
            machines: (0..5).map(machine).collect(),
            services: services.into_iter().map(|(name, service)| (name.to_owned(), service)).collect(),
            ..EnvironmentStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_with_one_name_on_both_sides_is_named_once() {
        assert_eq!(label(&["db"], &["db"]), "db");
        assert_eq!(label(&["database"], &["db"]), "database – db");
        assert_eq!(label(&["db", "cache"], &["db"]), "db, cache");
        assert_eq!(label(&["db"], &[]), "db");
    }

    #[test]
    fn a_subordinate_is_a_service_with_its_own_units() {
        let graph = graph(&samples::accompanied());
        let (at, logging) = graph.nodes.iter().enumerate().find(|(_, node)| node.name == "logging").unwrap();
        assert_eq!((logging.units.as_slice(), logging.state.as_str()), (&["waiting".to_owned()][..], "waiting"));
        let edge = graph.edges.iter().find(|edge| edge.ends.0 == at).unwrap();
        assert_eq!((graph.nodes[edge.ends.1].name.as_str(), edge.label.as_str()), ("mysql", "info – juju-info"));
    }

    #[test]
    fn a_relation_is_one_edge_and_a_peer_relation_is_none() {
        let graph = graph(&samples::wiki());
        let ends: Vec<_> = graph.edges.iter().map(|edge| (edge.ends, edge.label.as_str())).collect();
        assert_eq!(ends, [((0, 1), "reverseproxy – website"), ((1, 3), "database – db")]);
        assert_eq!(graph.nodes[3].peers, ["cluster"]);
    }
}
