//! `status`: Juju's YAML and JSON for programs, the sections of Juju 1.25 for people.

use super::table::{Cell, section};
use crate::api::{EnvironmentStatus, MachineStatus, ServiceStatus, UnitStatus};
use crate::cli::error::Failure;
use crate::cli::output::{Paint, state_style};

/// YAML in which ids are quoted as Juju quotes them: `"0":` and `machine: "1"`.
pub fn yaml(status: &EnvironmentStatus) -> Result<String, Failure> {
    let text = super::yaml(status)?;
    let requote = |line: &str| -> String {
        let id = |text: &str| text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')).map(str::to_owned);
        let key = line.strip_prefix("  ").and_then(|rest| rest.strip_suffix(':')).and_then(id);
        let machine = line.strip_prefix("        machine: ").and_then(id);
        match (key, machine) {
            (Some(id), _) if is_number(&id) => format!("  \"{id}\":\n"),
            (_, Some(id)) if is_number(&id) => format!("        machine: \"{id}\"\n"),
            _ => format!("{line}\n"),
        }
    };
    Ok(text.lines().map(requote).collect())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub fn tabular(paint: Paint, status: &EnvironmentStatus) -> String {
    let mut sections = Vec::new();
    if let Some(host) = &status.host {
        sections.push(format!("Machines are on {host}.\n"));
    }
    if !status.services.is_empty() {
        let rows: Vec<_> = status.services.iter().map(|(name, service)| service_row(status, name, service)).collect();
        let names = ["NAME", "STATUS", "EXPOSED", "CHARM", "PUBLISHED", "MESSAGE"];
        sections.push(section(paint, "Services", names, &rows));
    }
    let units = in_order(status);
    if !units.is_empty() {
        let names = ["ID", "WORKLOAD-STATE", "AGENT-STATE", "VERSION", "MACHINE", "PORTS", "PUBLIC-ADDRESS", "MESSAGE"];
        let rows: Vec<_> = units.iter().map(|(depth, name, unit)| unit_row(&indented(*depth, name), unit)).collect();
        sections.push(section(paint, "Units", names, &rows));
    }
    let relations = relations(status);
    if !relations.is_empty() {
        sections.push(section(paint, "Relations", ["SERVICE", "RELATION", "WITH", "MESSAGE"], &relations));
    }
    let rows: Vec<_> = status.machines_and_containers().map(|(id, machine)| machine_row(id, machine)).collect();
    if !rows.is_empty() {
        let names = ["ID", "STATE", "VERSION", "DNS", "INS-ID", "SERIES", "HARDWARE", "MESSAGE"];
        sections.push(section(paint, "Machines", names, &rows));
    }
    if !status.cautions.is_empty() {
        sections.push(status.cautions.iter().map(|(kind, caution)| format!("{kind}: {caution}\n")).collect());
    }
    sections.join("\n")
}

fn state(word: &str, life: Option<&str>) -> Cell {
    match life {
        Some(life) => Cell::styled(format!("{word} ({life})"), state_style(word)),
        None => Cell::styled(word, state_style(word)),
    }
}

fn service_row(status: &EnvironmentStatus, name: &str, service: &ServiceStatus) -> [Cell; 6] {
    [
        name.into(),
        state(worst(status, name), service.life.as_deref()),
        if service.exposed { "true" } else { "false" }.into(),
        service.charm.as_str().into(),
        service.published.join(",").into(),
        service.life_info.clone().unwrap_or_default().into(),
    ]
}

/// A service is as well as its worst unit.
pub(super) fn worst<'a>(status: &'a EnvironmentStatus, service: &'a str) -> &'a str {
    const WORST_FIRST: [&str; 7] = ["error", "blocked", "maintenance", "waiting", "active", "terminated", "unknown"];
    let rank = |state: &str| WORST_FIRST.iter().position(|other| *other == state).unwrap_or(WORST_FIRST.len());
    let states = status.units_of(service).map(|(_, unit)| unit.workload_status.current.as_str());
    states.min_by_key(|state| rank(state)).unwrap_or("unknown")
}

fn unit_row(name: &str, unit: &UnitStatus) -> [Cell; 8] {
    let workload = &unit.workload_status;
    let message = match (&unit.agent_state_info, workload.message.as_str()) {
        // The workload's message is a part of it.
        (Some(info), _) if unit.agent_state == "error" || workload.current == "error" => info.clone(),
        // Of a unit whose machine is down it is `(started)` already.
        (Some(info), message) => {
            let bare = info.strip_prefix('(').and_then(|info| info.strip_suffix(')')).unwrap_or(info);
            format!("({bare}) {message}").trim_end().to_owned()
        }
        (None, message) => message.to_owned(),
    };
    // As in Juju 3: a star for the unit that speaks for its service.
    let name = if unit.leader { format!("{name}*") } else { name.to_owned() };
    [
        name.into(),
        state(&workload.current, None),
        state(&unit.agent_state, unit.life.as_deref()),
        unit.agent_version.clone().unwrap_or_default().into(),
        unit.machine.clone().unwrap_or_default().into(),
        unit.open_ports.join(",").into(),
        unit.public_address.clone().unwrap_or_default().into(),
        message.into(),
    ]
}

/// Every unit in order, each followed by its subordinates, with how deep it stands.
pub(super) fn in_order(status: &EnvironmentStatus) -> Vec<(usize, &String, &UnitStatus)> {
    let mut principals: Vec<_> = status.services.values().flat_map(|service| &service.units).collect();
    principals.sort_by_key(|(name, _)| natural(name));
    let mut units = Vec::new();
    for (name, unit) in principals {
        units.push((0, name, unit));
        units.extend(unit.subordinates.iter().map(|(name, unit)| (1, name, unit)));
    }
    units
}

pub(super) fn indented(depth: usize, text: &str) -> String {
    format!("{}{text}", "  ".repeat(depth))
}

fn machine_row(id: &str, machine: &MachineStatus) -> [Cell; 8] {
    let agent = machine.agent_state.as_deref().unwrap_or("pending");
    let adopted = machine.adopted.as_ref().map(|what| format!("adopted: {what}"));
    let message = machine.agent_state_info.clone().or(adopted).unwrap_or_default();
    [
        id.into(),
        state(agent, machine.life.as_deref()),
        machine.agent_version.clone().unwrap_or_default().into(),
        machine.dns_name.clone().unwrap_or_default().into(),
        machine.instance_id.as_str().into(),
        machine.series.as_str().into(),
        machine.hardware.clone().unwrap_or_default().into(),
        message.into(),
    ]
}

fn relations(status: &EnvironmentStatus) -> Vec<[Cell; 4]> {
    let row = |service: &String, name: &String, others: &Vec<String>| -> [Cell; 4] {
        let end = format!("{service}:{name}");
        let dying = status.dying_relations.iter().find(|(key, _)| key.split(' ').any(|other| other == end));
        let message = dying.map(|(_, waits)| format!("dying: {waits}")).unwrap_or_default();
        [service.as_str().into(), name.as_str().into(), others.join(", ").into(), message.into()]
    };
    let of = |(service, info): (_, &ServiceStatus)| {
        info.relations.iter().map(|(name, others)| row(service, name, others)).collect::<Vec<_>>()
    };
    status.services.iter().flat_map(of).collect()
}

/// Orders `mysql/10` after `mysql/9`.
pub(super) fn natural(name: &str) -> (String, u64) {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (text, number) = name.split_at(name.len() - digits);
    (text.to_owned(), number.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::WorkloadStatusInfo;
    use indexmap::IndexMap;

    const PLAIN: Paint = Paint { colour: false };

    fn unit(workload: &str, message: &str, machine: &str) -> UnitStatus {
        UnitStatus {
            workload_status: WorkloadStatusInfo {
                current: workload.into(),
                message: message.into(),
                since: "2026-11-23T15:46:30Z".into(),
            },
            agent_state: "started".into(),
            machine: Some(machine.into()),
            open_ports: vec!["3306/tcp".into()],
            public_address: Some("10.0.3.11".into()),
            ..UnitStatus::default()
        }
    }

    fn wiki() -> EnvironmentStatus {
        let machine = |id: &str| MachineStatus {
            agent_state: Some("started".into()),
            dns_name: Some(format!("10.0.3.{}", id.len() + 8)),
            instance_id: format!("eva-local-machine-{id}"),
            series: "bookworm".into(),
            hardware: Some("arch=amd64".into()),
            ..MachineStatus::default()
        };
        let mut host = machine("9");
        host.containers.insert("9/lxc/0".into(), machine("9-lxc-0"));
        let pending = MachineStatus { instance_id: "pending".into(), series: "bookworm".into(), ..Default::default() };
        let logging = UnitStatus { machine: None, open_ports: Vec::new(), ..unit("maintenance", "reads", "") };
        let blocked = UnitStatus {
            subordinates: IndexMap::from([("logging/0".into(), logging)]),
            ..unit("blocked", "no disk", "9/lxc/0")
        };
        let units = [("mysql/10", unit("active", "ready", "10")), ("mysql/9", blocked)];
        let mysql = ServiceStatus {
            charm: "local:bookworm/mysql-1".into(),
            relations: [("db", "wiki"), ("juju-info", "logging")]
                .map(|(name, other)| (name.into(), vec![other.into()]))
                .into(),
            units: units.map(|(name, unit)| (name.to_owned(), unit)).into(),
            ..ServiceStatus::default()
        };
        let logging = ServiceStatus {
            charm: "local:bookworm/logging-0".into(),
            relations: IndexMap::from([("info".into(), vec!["mysql".into()])]),
            subordinate_to: vec!["mysql".into()],
            ..ServiceStatus::default()
        };
        EnvironmentStatus {
            environment: "local".into(),
            machines: [("9", host), ("10", machine("10")), ("11", pending)].map(|(id, m)| (id.into(), m)).into(),
            services: IndexMap::from([("logging".into(), logging), ("mysql".into(), mysql)]),
            ..EnvironmentStatus::default()
        }
    }

    #[test]
    fn a_person_reads_sections() {
        insta::assert_snapshot!(tabular(PLAIN, &wiki()));
    }

    #[test]
    fn what_there_is_none_of_has_no_section() {
        let bare = EnvironmentStatus { machines: IndexMap::new(), ..wiki() };
        assert!(tabular(PLAIN, &wiki()).contains("[Machines]") && !tabular(PLAIN, &bare).contains("[Machines]"));
    }

    #[test]
    fn a_program_reads_jujus_yaml() {
        insta::assert_snapshot!(yaml(&wiki()).unwrap());
    }

    #[test]
    fn the_yaml_says_what_the_json_says() {
        let back: EnvironmentStatus = serde_yaml::from_str(&yaml(&wiki()).unwrap()).unwrap();
        assert_eq!(back, wiki());
    }

    #[test]
    fn an_error_shows_its_reason_instead_of_the_message() {
        let broken = UnitStatus {
            agent_state: "error".into(),
            agent_state_info: Some("hook failed: \"install\"".into()),
            ..unit("error", "old", "1")
        };
        let service = ServiceStatus { units: IndexMap::from([("x/0".into(), broken)]), ..ServiceStatus::default() };
        let status = EnvironmentStatus { services: IndexMap::from([("x".into(), service)]), ..Default::default() };
        assert!(tabular(PLAIN, &status).contains("10.0.3.11      hook failed: \"install\"\n"));
    }

    #[test]
    fn what_an_agent_does_stands_in_brackets_before_the_message() {
        let told = |info: &str| {
            let busy = UnitStatus { agent_state_info: Some(info.into()), ..unit("active", "ready", "1") };
            let service = ServiceStatus { units: IndexMap::from([("x/0".into(), busy)]), ..ServiceStatus::default() };
            let services = IndexMap::from([("x".into(), service)]);
            tabular(PLAIN, &EnvironmentStatus { services, ..Default::default() })
        };
        let shown = ["running start", "(started)", "waits for its hook stop (y/0)"].map(told);
        assert!(shown[0].contains(" (running start) ready\n"), "{}", shown[0]);
        assert!(shown[1].contains(" (started) ready\n"), "{}", shown[1]);
        assert!(shown[2].contains(" (waits for its hook stop (y/0)) ready\n"), "{}", shown[2]);
    }

    #[test]
    fn what_is_dying_says_what_it_waits_for() {
        let mut status = wiki();
        let mysql = status.services.get_mut("mysql").unwrap();
        mysql.life = Some("dying".into());
        mysql.life_info = Some("waits for hook stop of mysql/9".into());
        let dying = mysql.units.get_mut("mysql/9").unwrap();
        dying.life = Some("dying".into());
        dying.agent_state_info = Some("waits for its hook stop, which runs".into());
        mysql.units.get_mut("mysql/10").unwrap().leader = true;
        status.dying_relations.insert("wiki:db mysql:db".into(), "waits for hook db-relation-broken of wiki/0".into());
        insta::assert_snapshot!(tabular(PLAIN, &status) + "\n" + &yaml(&status).unwrap());
    }
}
