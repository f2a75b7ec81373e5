//! status

use std::collections::BTreeSet;

use async_trait::async_trait;
use indexmap::IndexMap;

use crate::model::{
    HardwareFacts, Life, Machine, MachineId, Model, Observed, Provision, Service, ServiceName, Sighting, Trouble, Unit,
    UnitName, WorkloadState,
};

use super::super::backend::{Asker, Backend};
use super::super::requests::{Refusal, Status, VERSION};
use super::super::server::Handle;
use super::super::status::{EnvironmentStatus, MachineStatus, ServiceStatus, UnitStatus, WorkloadStatusInfo};
use super::dying;

#[async_trait]
impl Handle for Status {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<EnvironmentStatus, Refusal> {
        let patterns = patterns(&self.patterns)?;
        Ok(now(backend, &patterns))
    }
}

const PATTERNS: &str = "a pattern is a service or unit, `*` stands for anything: `mysql`, `mysql/0`, `my*`";

pub(super) fn patterns(texts: &[String]) -> Result<Vec<Pattern>, Refusal> {
    texts.iter().map(|text| Pattern::of(text)).collect()
}

pub(super) fn now(backend: &dyn Backend, patterns: &[Pattern]) -> EnvironmentStatus {
    let (model, observed) = (backend.model(), backend.observed());
    let mut status = status(&model, &observed, patterns);
    for leader in model.services.values().filter_map(|service| model.leader(service)) {
        if let Some(told) = model.units.get(&leader).and_then(|unit| unit_of(&mut status, unit)) {
            told.leader = true;
        }
    }
    dying::tell(&mut status, &model, &|what| backend.waits_for(&model, &observed, what));
    status
}

/// A glob on a service's or unit's name; a bare name stands for all units of it.
pub(super) struct Pattern {
    service: String,
    number: String,
}

impl Pattern {
    fn of(text: &str) -> Result<Pattern, Refusal> {
        let (service, number) = text.split_once('/').unwrap_or((text, "*"));
        if number.contains('/') {
            return Err(Refusal::new(format!("pattern \"{text}\" contains too many '/' characters")).hint(PATTERNS));
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'*';
        if !text.bytes().all(|b| fits(b) || b == b'/') {
            return Err(Refusal::new(format!("pattern \"{text}\" contains invalid characters")).hint(PATTERNS));
        }
        Ok(Pattern { service: service.to_owned(), number: number.to_owned() })
    }

    pub(super) fn matches(&self, unit: &UnitName) -> bool {
        glob(&self.service, unit.service.as_str()) && glob(&self.number, &unit.number.to_string())
    }
}

pub(super) fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| glob(tail, &rest[at..]))
        }),
    }
}

fn status(model: &Model, observed: &Observed, patterns: &[Pattern]) -> EnvironmentStatus {
    let wanted = |unit: &Unit| patterns.is_empty() || shown(patterns, unit);
    let units: Vec<&Unit> = model.units.values().filter(|unit| wanted(unit)).collect();
    let hosts: BTreeSet<MachineId> = units.iter().map(|unit| unit.machine).collect();
    let owners: BTreeSet<&ServiceName> = units.iter().map(|unit| &unit.name.service).collect();
    // A container is shown inside its machine.
    let seen = |id: &MachineId| patterns.is_empty() || hosts.contains(id);
    let containers = |machine: &Machine| -> IndexMap<String, MachineStatus> {
        let seen = model.containers_of(machine.id).filter(|container| seen(&container.id));
        seen.map(|container| (container.id.to_string(), machine_status(model, observed, container))).collect()
    };
    let machines = model.machines.values().filter(|machine| machine.id.host().is_none());
    let machines = machines.filter_map(|machine| {
        let containers = containers(machine);
        let wanted = seen(&machine.id) || !containers.is_empty();
        wanted
            .then(|| (machine.id.to_string(), MachineStatus { containers, ..machine_status(model, observed, machine) }))
    });
    let machines: IndexMap<String, MachineStatus> = machines.collect();
    let services = model.services.values().filter(|service| {
        let by_name = |pattern: &Pattern| glob(&pattern.service, service.name.as_str()) && pattern.number == "*";
        patterns.is_empty() || patterns.iter().any(by_name) || owners.contains(&service.name)
    });
    EnvironmentStatus {
        environment: model.environment.as_ref().map(|name| name.to_string()).unwrap_or_default(),
        host: observed.elsewhere.clone(),
        cautions: cautions(model, &machines),
        machines,
        services: services.map(|s| (s.name.to_string(), service_status(model, observed, s, &wanted))).collect(),
        ..EnvironmentStatus::default()
    }
}

/// What the status says of a unit, if it is shown: a subordinate stands below its principal.
pub(super) fn unit_of<'a>(status: &'a mut EnvironmentStatus, unit: &Unit) -> Option<&'a mut UnitStatus> {
    let above = unit.principal.as_ref().unwrap_or(&unit.name);
    let told = status.services.get_mut(above.service.as_str())?.units.get_mut(&above.to_string())?;
    match &unit.principal {
        None => Some(told),
        Some(_) => told.subordinates.get_mut(&unit.name.to_string()),
    }
}

/// A unit is shown with the whole of its company: a principal brings its subordinates, a subordinate its principal.
fn shown(patterns: &[Pattern], unit: &Unit) -> bool {
    let company = std::iter::once(&unit.name).chain(&unit.principal).chain(&unit.subordinates);
    company.into_iter().any(|name| patterns.iter().any(|pattern| pattern.matches(name)))
}

pub(super) fn machine_status(model: &Model, observed: &Observed, machine: &Machine) -> MachineStatus {
    let sighting = observed.instances.get(&machine.id);
    let activity = observed.machine_activity.get(&machine.id).cloned();
    let trouble = observed.trouble(machine.id).map(trouble_text);
    let base = MachineStatus {
        life: life(machine.life),
        series: machine.series.clone(),
        adopted: machine.adopted.as_ref().map(ToString::to_string),
        virt_type: machine.constraints.virt_type.clone(),
        agent_version: Some(VERSION.to_owned()),
        name: machine.name.as_ref().map(ToString::to_string),
        copy_of: machine.copy_of.map(|from| from.to_string()),
        ..MachineStatus::default()
    };
    match &machine.provision {
        Provision::Host { address, hardware } => MachineStatus {
            agent_state: Some(host_state(observed).to_owned()),
            agent_state_info: observed.host_fault().or(observed.opening.as_ref()).cloned(),
            dns_name: (!address.is_unspecified()).then(|| address.to_string()),
            instance_id: "localhost".to_owned(),
            hardware: Some(hardware_text(hardware)),
            ..base
        },
        Provision::Pending => MachineStatus {
            agent_version: None,
            agent_state_info: activity.or_else(|| observed.opening.clone()),
            instance_id: "pending".to_owned(),
            ..base
        },
        Provision::Failed { message } => MachineStatus {
            agent_version: None,
            agent_state: Some("error".to_owned()),
            agent_state_info: Some(
                match observed.creation_trouble(machine.id).filter(|_| model.can_be_made(machine)) {
                    Some(trouble) => trouble_text(trouble),
                    None => message.clone(),
                },
            ),
            instance_id: "pending".to_owned(),
            ..base
        },
        Provision::Running { instance, address, hardware, .. } => {
            let down = matches!(sighting, Some(Sighting::Stopped | Sighting::Unknown));
            let gone = sighting == Some(&Sighting::Missing);
            MachineStatus {
                agent_state: Some(instance_state(machine, sighting).to_owned()),
                agent_state_info: activity
                    .or_else(|| gone.then(|| model.lost(machine)))
                    .or(trouble)
                    .or_else(|| machine.wish())
                    .or_else(|| (down && !machine.is_off()).then(|| "(started)".to_owned())),
                dns_name: Some(address.to_string()),
                instance_id: instance.clone(),
                instance_state: sighting.map(|sighting| sighting.as_str().to_owned()),
                hardware: Some(hardware_text(hardware) + &unusual_kind(model, machine)),
                ..base
            }
        }
    }
}

/// Of a machine that was made. One that an operator has stopped is not down.
fn instance_state(machine: &Machine, sighting: Option<&Sighting>) -> &'static str {
    match sighting {
        Some(Sighting::Missing) => "down",
        Some(Sighting::Stopped) if machine.is_off() => "stopped",
        Some(Sighting::Stopped | Sighting::Unknown) => "down",
        Some(Sighting::Running) | None => "started",
    }
}

/// What failed, and when it is tried again.
fn trouble_text(trouble: &Trouble) -> String {
    format!("{} (next try at {})", trouble.words, since(trouble.next))
}

fn host_state(observed: &Observed) -> &'static str {
    match (observed.host_fault(), &observed.opening) {
        (Some(_), _) => "error",
        (None, Some(_)) => "pending",
        (None, None) => "started",
    }
}

fn service_status(
    model: &Model,
    observed: &Observed,
    service: &Service,
    wanted: &dyn Fn(&Unit) -> bool,
) -> ServiceStatus {
    let units = model.units_of(service).filter(|unit| unit.principal.is_none() && wanted(unit)).map(|unit| {
        let below = unit.subordinates.iter().filter_map(|name| model.units.get(name)).filter(|unit| wanted(unit));
        let subordinates = below.map(|unit| (unit.name.to_string(), unit_status(model, observed, unit))).collect();
        (unit.name.to_string(), UnitStatus { subordinates, ..unit_status(model, observed, unit) })
    });
    ServiceStatus {
        charm: service.charm.to_string(),
        exposed: service.exposed,
        life: life(service.life),
        life_info: None,
        published: service.published.iter().map(|m| format!("{}:{}", m.host_port, m.port)).collect(),
        relations: relations(model, service),
        subordinate_to: subordinate_to(model, service),
        units: units.collect(),
    }
}

fn relations(model: &Model, service: &Service) -> IndexMap<String, Vec<String>> {
    let mut by_endpoint: IndexMap<String, BTreeSet<String>> = IndexMap::new();
    for relation in service.relations.iter().filter_map(|id| model.relations.get(id)) {
        let Some(endpoint) = relation.endpoint_of(&service.name) else { continue };
        let remote = relation.remote_service(&service.name).to_string();
        by_endpoint.entry(endpoint.endpoint.to_string()).or_default().insert(remote);
    }
    by_endpoint.sort_keys();
    by_endpoint.into_iter().map(|(endpoint, services)| (endpoint, services.into_iter().collect())).collect()
}

fn subordinate_to(model: &Model, service: &Service) -> Vec<String> {
    if !model.is_subordinate(&service.name) {
        return Vec::new();
    }
    let relations = service.relations.iter().filter_map(|id| model.relations.get(id));
    let shared = relations.filter(|relation| relation.is_container_scoped() && !relation.is_peer());
    let names: BTreeSet<&ServiceName> = shared.map(|relation| relation.remote_service(&service.name)).collect();
    names.into_iter().map(ToString::to_string).collect()
}

fn unit_status(model: &Model, observed: &Observed, unit: &Unit) -> UnitStatus {
    let machine = model.machines.get(&unit.machine);
    let down = matches!(
        observed.instances.get(&unit.machine),
        Some(Sighting::Missing | Sighting::Stopped | Sighting::Unknown)
    );
    let off = machine.is_some_and(Machine::is_off);
    let running = observed.unit_activity.get(&unit.name).map(ToString::to_string);
    // What is dying skips the hooks that fail.
    let failed = unit.failed.as_ref().filter(|_| unit.life == Life::Alive);
    let (state, info) = match failed {
        Some(failed) => {
            let words = format!("hook failed: \"{}\": {}", failed.hook, failed.message);
            // As in Juju: what it was before stands in brackets.
            if down && !off { ("down", Some(format!("(error: {words})"))) } else { ("error", Some(words)) }
        }
        None if down && off => ("down", Some(stopped(unit.machine))),
        None if down && unit.started => ("down", Some("(started)".to_owned())),
        None if unit.stopped => ("stopped", running),
        None if unit.started => ("started", running),
        None if unit.installed => ("installed", running),
        None => ("pending", running.or_else(|| Some(awaited(machine)))),
    };
    let workload = match failed {
        Some(failed) => (WorkloadState::Error, format!("hook failed: \"{}\"", failed.hook)),
        None => (unit.workload.state, unit.workload.message.clone()),
    };
    UnitStatus {
        workload_status: WorkloadStatusInfo {
            current: workload.0.to_string(),
            message: workload.1,
            since: since(unit.workload_since),
        },
        agent_state: state.to_owned(),
        agent_state_info: info,
        agent_version: unit.installed.then(|| VERSION.to_owned()),
        leader: false,
        life: life(unit.life),
        machine: unit.principal.is_none().then(|| unit.machine.to_string()),
        open_ports: unit.open_ports.iter().map(|port| port.to_string()).collect(),
        public_address: machine.and_then(Machine::address).map(|address| address.to_string()),
        subordinates: IndexMap::new(),
    }
}

fn stopped(machine: MachineId) -> String {
    format!("machine {machine} is stopped")
}

fn awaited(machine: Option<&Machine>) -> String {
    if let Some(machine) = machine.filter(|machine| machine.is_off()) {
        return stopped(machine.id);
    }
    match machine.map(|machine| &machine.provision) {
        Some(Provision::Failed { .. }) => "its machine could not be created".to_owned(),
        Some(Provision::Running { .. }) => "waiting for its first hook".to_owned(),
        _ => "waiting for machine".to_owned(),
    }
}

fn life(life: Life) -> Option<String> {
    (life == Life::Dying).then(|| "dying".to_owned())
}

/// As Juju 3 tells it, of a machine that is not of the default kind.
fn unusual_kind(model: &Model, machine: &Machine) -> String {
    let usual = model.kinds.default_kind().map(|kind| &kind.name);
    let unusual = machine.constraints.virt_type.as_ref().filter(|kind| Some(*kind) != usual);
    unusual.map(|kind| format!(" virt-type={kind}")).unwrap_or_default()
}

/// Once for each kind, not on each machine's line.
fn cautions(model: &Model, machines: &IndexMap<String, MachineStatus>) -> IndexMap<String, String> {
    let shown = machines.values().flat_map(|machine| std::iter::once(machine).chain(machine.containers.values()));
    let shown: BTreeSet<&String> = shown.filter_map(|machine| machine.virt_type.as_ref()).collect();
    let kinds = model.kinds.0.iter().filter(|kind| shown.contains(&kind.name));
    kinds.filter_map(|kind| Some((kind.name.clone(), kind.caution.clone()?))).collect()
}

/// Juju's order: arch, cores, memory.
fn hardware_text(hardware: &HardwareFacts) -> String {
    format!("arch={} cpu-cores={} mem={}M", hardware.arch, hardware.cores, hardware.mem)
}

fn since(at: crate::model::Millis) -> String {
    let time = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_glob_on_service_or_unit() {
        let matches = |pattern: &str, unit: &str| {
            Pattern::of(pattern).map(|pattern| pattern.matches(&unit.parse().unwrap())).unwrap()
        };
        assert!(matches("mysql", "mysql/3") && matches("my*", "mysql/0") && matches("*/0", "mysql/0"));
        assert!(!matches("mysql/1", "mysql/0") && !matches("sql", "mysql/0"));
        let refused = |pattern: &str| Pattern::of(pattern).err().map(|refusal| refusal.error);
        assert_eq!(refused("a/b/c").as_deref(), Some("pattern \"a/b/c\" contains too many '/' characters"));
        assert_eq!(refused("a b").as_deref(), Some("pattern \"a b\" contains invalid characters"));
    }
}
