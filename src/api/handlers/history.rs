//! history, show-status-log: the journal, told in words.

use async_trait::async_trait;

use crate::model::{Event, MachineId, UnitName};

use super::super::backend::{Backend, Recorded};
use super::super::requests::{
    History, HistoryAnswer, HistoryEntry, Refusal, StatusLog, StatusLogAnswer, StatusLogEntry,
};
use super::super::server::Handle;
use super::{is_machine, name, time_text};

/// Entries of the journal that are looked through: hours of a busy environment.
const LOOKED_AT: u64 = 20_000;

#[async_trait]
impl Handle for History {
    async fn handle(self, backend: &dyn Backend, _by: &str) -> Result<HistoryAnswer, Refusal> {
        let mut entries: Vec<HistoryEntry> = Vec::new();
        let mut last: Option<(i64, String)> = None;
        for recorded in backend.recorded(LOOKED_AT).await?.into_iter().filter(|r| !r.by.starts_with('@')) {
            let effect = told(&recorded.event);
            // One command's events have its name and its moment.
            let same = last.as_ref().is_some_and(|(at, by)| *at == recorded.at && *by == recorded.by);
            match entries.last_mut() {
                Some(entry) if same => entry.effects.extend(effect),
                _ => entries.push(HistoryEntry {
                    time: time_text(recorded.at),
                    command: recorded.by.clone(),
                    effects: effect.into_iter().collect(),
                }),
            }
            last = Some((recorded.at, recorded.by));
        }
        entries.drain(..entries.len().saturating_sub(self.lines));
        Ok(HistoryAnswer { entries })
    }
}

#[async_trait]
impl Handle for StatusLog {
    async fn handle(self, backend: &dyn Backend, _by: &str) -> Result<StatusLogAnswer, Refusal> {
        let of_entity: Box<dyn Fn(&Recorded) -> Option<StatusLogEntry> + Send> =
            if is_machine(&self.entity) || !self.entity.contains('/') {
                let machine: MachineId = name(&self.entity)?;
                Box::new(move |recorded| of_machine(recorded, machine))
            } else {
                let unit: UnitName = name(&self.entity)?;
                Box::new(move |recorded| of_unit(recorded, &unit))
            };
        let mut entries: Vec<StatusLogEntry> =
            backend.recorded(LOOKED_AT).await?.iter().filter_map(of_entity).collect();
        if entries.is_empty() {
            return Err(Refusal::new(format!("nothing is recorded of \"{}\"", self.entity))
                .hint("`encanto status` lists units and machines"));
        }
        entries.drain(..entries.len().saturating_sub(self.lines));
        Ok(StatusLogAnswer { entries })
    }
}

fn entry(recorded: &Recorded, kind: &str, state: impl Into<String>, message: impl Into<String>) -> StatusLogEntry {
    StatusLogEntry { time: time_text(recorded.at), kind: kind.to_owned(), state: state.into(), message: message.into() }
}

fn of_unit(recorded: &Recorded, wanted: &UnitName) -> Option<StatusLogEntry> {
    let asked = if recorded.by.starts_with('@') { String::new() } else { format!("`{}`", recorded.by) };
    match &recorded.event {
        Event::UnitAdded { unit, machine, .. } if unit == wanted => {
            Some(entry(recorded, "agent", "allocated", format!("on machine {machine} by {asked}")))
        }
        Event::UnitStatusSet { unit, status } if unit == wanted => {
            Some(entry(recorded, "workload", status.state.as_str(), &status.message))
        }
        Event::HookCommitted { unit, hook, .. } if unit == wanted => {
            Some(entry(recorded, "agent", "executed", hook.told()))
        }
        Event::HookFailed { unit, hook, message } if unit == wanted => {
            Some(entry(recorded, "agent", "error", format!("{}: {message}", hook.told())))
        }
        Event::HookSkipped { unit, hook, message } if unit == wanted => {
            Some(entry(recorded, "agent", "skipped", format!("{}: {message}", hook.told())))
        }
        Event::HookRetried { unit } if unit == wanted => Some(entry(recorded, "agent", "retrying", asked)),
        Event::UnitDying { unit } if unit == wanted => Some(entry(recorded, "agent", "dying", asked)),
        Event::UnitRemoved { unit, .. } if unit == wanted => Some(entry(recorded, "agent", "removed", asked)),
        _ => None,
    }
}

fn of_machine(recorded: &Recorded, wanted: MachineId) -> Option<StatusLogEntry> {
    match &recorded.event {
        Event::MachineAdded { machine, .. } if *machine == wanted => Some(entry(recorded, "machine", "pending", "")),
        Event::MachineProvisioned { machine, instance, address, .. } if *machine == wanted => {
            Some(entry(recorded, "machine", "started", format!("{instance} at {address}")))
        }
        Event::MachineFailed { machine, message } if *machine == wanted => {
            Some(entry(recorded, "machine", "error", message))
        }
        Event::MachineRetried { machine } if *machine == wanted => Some(entry(recorded, "machine", "retrying", "")),
        Event::MachineDying { machine } if *machine == wanted => Some(entry(recorded, "machine", "dying", "")),
        Event::MachineRemoved { machine } if *machine == wanted => Some(entry(recorded, "machine", "removed", "")),
        _ => None,
    }
}

/// What an operator's command did; `None` for what only serves it.
fn told(event: &Event) -> Option<String> {
    Some(match event {
        Event::EnvironmentCreated { name, .. } => format!("environment {name} created"),
        Event::MachineAdded { machine, .. } => format!("machine {machine} added"),
        Event::MachineRetried { machine } => format!("machine {machine} tried again"),
        Event::MachineDying { machine } => format!("machine {machine} dying"),
        Event::MachineRemoved { machine } => format!("machine {machine} removed"),
        Event::ServiceAdded { service, charm, .. } => format!("service {service} added from {charm}"),
        Event::ServiceConfigured { service, changes } => {
            format!("service {service}: {} set", changes.keys().cloned().collect::<Vec<_>>().join(", "))
        }
        Event::ServiceUpgraded { service, charm, .. } => format!("service {service} upgraded to {charm}"),
        Event::ServiceUnset { service, keys } => format!("service {service}: {} unset", keys.join(", ")),
        Event::ConstraintsSet { service, constraints } => {
            let whose = service.as_ref().map_or("environment".to_owned(), |service| format!("service {service}"));
            format!("{whose}: constraints set to \"{constraints}\"")
        }
        Event::ServiceExposed { service, .. } => format!("service {service} exposed"),
        Event::ServiceUnexposed { service } => format!("service {service} unexposed"),
        Event::ServiceDying { service } => format!("service {service} dying"),
        Event::ServiceRemoved { service } => format!("service {service} removed"),
        Event::UnitAdded { unit, machine, principal: None } => format!("unit {unit} added on machine {machine}"),
        Event::UnitAdded { unit, principal: Some(principal), .. } => format!("unit {unit} added beside {principal}"),
        Event::UnitDying { unit } => format!("unit {unit} dying"),
        Event::UnitRemoved { unit, .. } => format!("unit {unit} removed"),
        Event::RelationAdded { relation, endpoints } => {
            let ends: Vec<String> = endpoints.iter().map(|e| format!("{}:{}", e.service, e.endpoint)).collect();
            format!("relation {relation} ({}) added", ends.join(" "))
        }
        Event::RelationDying { relation } => format!("relation {relation} dying"),
        Event::RelationRemoved { relation } => format!("relation {relation} removed"),
        Event::HookRetried { unit } => format!("unit {unit}: hook tried again"),
        Event::HookSkipped { unit, hook, .. } => format!("unit {unit}: {hook} counts as run"),
        _ => return None,
    })
}
