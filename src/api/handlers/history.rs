//! history, show-status-log: the journal, told in words.

use async_trait::async_trait;

use crate::model::{Event, MachineId, Subject, UnitName};

use super::super::backend::{Asker, Backend, Recorded};
use super::super::requests::{
    History, HistoryAnswer, HistoryEntry, Refusal, StatusLog, StatusLogAnswer, StatusLogEntry,
};
use super::super::server::Handle;
use super::{subject, time_text};

/// Entries that are read at once.
const PAGE: usize = 500;

#[async_trait]
impl Handle for History {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<HistoryAnswer, Refusal> {
        let oldest = self.since.map(|seconds| backend.now().saturating_sub_unsigned(seconds.saturating_mul(1000)));
        let mut commands = Commands { request: &self, found: Vec::new(), open: None };
        let mut before = u64::MAX;
        loop {
            let page = backend.recorded(None, before, PAGE).await?;
            let last = page.len() < PAGE;
            before = page.first().map_or(0, |recorded| recorded.sequence);
            for recorded in page.into_iter().rev() {
                let too_old = oldest.is_some_and(|oldest| recorded.at < oldest);
                if too_old || commands.found.len() == self.lines {
                    return Ok(commands.answer());
                }
                commands.add(recorded);
            }
            if last {
                return Ok(commands.answer());
            }
        }
    }
}

/// Puts the entries of a command together again, from the newest to the oldest.
struct Commands<'a> {
    request: &'a History,
    found: Vec<HistoryEntry>,
    open: Option<(Recorded, Vec<String>)>,
}

impl Commands<'_> {
    fn add(&mut self, recorded: Recorded) {
        let effect = told(&recorded.event);
        // One command's events have its name, its user and its moment.
        let same = |(first, _): &&mut (Recorded, Vec<String>)| {
            (first.at, &first.by, &first.user) == (recorded.at, &recorded.by, &recorded.user)
        };
        match self.open.as_mut().filter(same) {
            Some((_, effects)) => effects.extend(effect),
            None => {
                self.close();
                self.open = Some((recorded, effect.into_iter().collect()));
            }
        }
    }

    fn close(&mut self) {
        let Some((recorded, mut effects)) = self.open.take() else { return };
        effects.reverse();
        let entry = HistoryEntry {
            time: time_text(recorded.at),
            user: recorded.user.unwrap_or_default(),
            command: recorded.by,
            effects,
        };
        if self.found.len() < self.request.lines && wanted(self.request, &entry) {
            self.found.push(entry);
        }
    }

    fn answer(mut self) -> HistoryAnswer {
        self.close();
        self.found.reverse();
        HistoryAnswer { entries: self.found }
    }
}

fn wanted(request: &History, entry: &HistoryEntry) -> bool {
    let by_user = request.user.as_ref().is_none_or(|user| *user == entry.user);
    let mut texts = std::iter::once(&entry.command).chain(&entry.effects);
    by_user && request.about.as_ref().is_none_or(|about| texts.any(|text| mentions(text, about)))
}

/// Whether `about` is a word of the text: `mysql` is meant by `mysql/0` and `mysql:db` too, not by `mysql-b`.
fn mentions(text: &str, about: &str) -> bool {
    let words = text.split(|c: char| c.is_whitespace() || "(),".contains(c));
    let mut starts = words.filter_map(|word| word.strip_prefix(about));
    starts.any(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
}

#[async_trait]
impl Handle for StatusLog {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<StatusLogAnswer, Refusal> {
        let subject = subject(&backend.model(), &self.entity)?;
        let recorded = backend.recorded(Some(&subject), u64::MAX, self.lines.max(1)).await?;
        if recorded.is_empty() {
            return Err(Refusal::new(format!("nothing is recorded of \"{}\"", self.entity))
                .hint("`encanto status` lists units and machines"));
        }
        let told = |recorded: &Recorded| match &subject {
            Subject::Unit(unit) => of_unit(recorded, unit),
            Subject::Machine(machine) => of_machine(recorded, *machine),
        };
        let mut entries: Vec<StatusLogEntry> = recorded.iter().filter_map(told).collect();
        entries.drain(..entries.len().saturating_sub(self.lines));
        Ok(StatusLogAnswer { entries })
    }
}

fn entry(recorded: &Recorded, kind: &str, state: impl Into<String>, message: impl Into<String>) -> StatusLogEntry {
    StatusLogEntry { time: time_text(recorded.at), kind: kind.to_owned(), state: state.into(), message: message.into() }
}

fn of_unit(recorded: &Recorded, wanted: &UnitName) -> Option<StatusLogEntry> {
    let asked = if recorded.by.starts_with('@') { String::new() } else { format!("`{}`", recorded.by) };
    // A subordinate comes by itself.
    let by = if asked.is_empty() { String::new() } else { format!(" by {asked}") };
    match &recorded.event {
        Event::UnitAdded { unit, machine, .. } if unit == wanted => {
            Some(entry(recorded, "agent", "allocated", format!("on machine {machine}{by}")))
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
        Event::ActionQueued { action, unit, name, .. } if unit == wanted => {
            Some(entry(recorded, "action", "pending", format!("{action}: {name}{by}")))
        }
        Event::ActionStarted { action, unit } if unit == wanted => {
            Some(entry(recorded, "action", "running", action.to_string()))
        }
        Event::ActionEnded { action, unit, end, .. } if unit == wanted => {
            let message = format!("{action}: {}", end.message());
            Some(entry(recorded, "action", end.as_str(), message.trim_end_matches([':', ' '])))
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
        Event::MachineAdopted { machine, adopted, .. } if *machine == wanted => {
            Some(entry(recorded, "machine", "pending", format!("adopting {adopted}")))
        }
        Event::MachineProvisioned { machine, instance, address, .. } if *machine == wanted => {
            Some(entry(recorded, "machine", "started", format!("{instance} at {address}")))
        }
        Event::MachineFailed { machine, message } if *machine == wanted => {
            Some(entry(recorded, "machine", "error", message))
        }
        Event::MachineRetried { machine } if *machine == wanted => Some(entry(recorded, "machine", "retrying", "")),
        Event::MachineDying { machine } if *machine == wanted => Some(entry(recorded, "machine", "dying", "")),
        Event::MachineRemoved { machine } if *machine == wanted => Some(entry(recorded, "machine", "removed", "")),
        other => wish(recorded, other, wanted),
    }
}

/// What operators wanted of it once it was there.
fn wish(recorded: &Recorded, event: &Event, wanted: MachineId) -> Option<StatusLogEntry> {
    if event.subject() != Some(Subject::Machine(wanted)) {
        return None;
    }
    let told = |state: &str, message: String| Some(entry(recorded, "machine", state, message));
    match event {
        Event::MachineNamed { name, .. } => told("named", name.to_string()),
        Event::MachineCloned { from, .. } => told("pending", format!("a copy of machine {from}")),
        Event::MachineStopAsked { .. } => told("stopped", String::new()),
        Event::MachineStartAsked { .. } => told("starting", String::new()),
        Event::MachineRestartAsked { .. } => told("restarting", String::new()),
        Event::MachineHalted { .. } => told("down", "to be started again".to_owned()),
        Event::MachineUp { .. } => told("started", String::new()),
        Event::MachineRestoreAsked { snapshot, .. } => told("restoring", format!("snapshot {snapshot}")),
        Event::MachineRestored { snapshot, .. } => told("restored", format!("snapshot {snapshot}")),
        Event::MachineRestoreFailed { snapshot, message, .. } => {
            told("error", format!("snapshot {snapshot} was not restored: {message}"))
        }
        Event::SnapshotTaken { snapshot, .. } => told("snapshot", format!("{snapshot} taken")),
        Event::SnapshotDropped { snapshot, .. } => told("snapshot", format!("{snapshot} deleted")),
        _ => None,
    }
}

/// What an operator's command did; `None` for what only serves it.
fn told(event: &Event) -> Option<String> {
    Some(match event {
        Event::EnvironmentCreated { name, .. } => format!("environment {name} created"),
        Event::EnvironmentBackedUp {} => "state of the environment backed up".to_owned(),
        Event::EnvironmentRestored { taken, .. } => {
            format!("state of the environment restored from the backup of {}", time_text(*taken))
        }
        Event::MachineAdded { machine, .. } => format!("machine {machine} added"),
        Event::MachineAdopted { machine, adopted, .. } => format!("machine {machine} adopted: {adopted}"),
        Event::MachineRetried { machine } => format!("machine {machine} tried again"),
        Event::MachineDying { machine } => format!("machine {machine} dying"),
        Event::MachineRemoved { machine } => format!("machine {machine} removed"),
        Event::MachineNamed { machine, name } => format!("machine {machine} called {name}"),
        Event::MachineCloned { machine, from } => format!("machine {machine} becomes a copy of {from}"),
        Event::MachineStopAsked { machine } => format!("machine {machine} stopped"),
        Event::MachineStartAsked { machine } => format!("machine {machine} started"),
        Event::MachineRestartAsked { machine } => format!("machine {machine} restarted"),
        Event::MachineRestoreAsked { machine, snapshot } => {
            format!("machine {machine} set back to snapshot {snapshot}")
        }
        Event::SnapshotTaken { machine, snapshot } => format!("snapshot {snapshot} of machine {machine} taken"),
        Event::SnapshotDropped { machine, snapshot } => format!("snapshot {snapshot} of machine {machine} deleted"),
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
        Event::ActionQueued { action, unit, name, .. } => format!("action {action} queued: {name} of {unit}"),
        Event::ActionCancelled { action, .. } => format!("action {action} is being cancelled"),
        Event::ActionEnded { action, end, .. } => format!("action {action} {}", end.as_str()),
        Event::HookSkipped { unit, hook, .. } => format!("unit {unit}: {hook} counts as run"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_meant_by_its_units_and_endpoints_and_not_by_its_neighbours() {
        assert!(mentions("relation 3 (wiki:db mysql:db) added", "mysql"));
        assert!(mentions("unit mysql/0 added on machine 1", "mysql/0") && mentions("deploy mysql", "mysql"));
        assert!(!mentions("deploy mysql-b", "mysql") && !mentions("unit mysql/10 dying", "mysql/1"));
    }
}
