//! What a story waits for, and what it finds then.

use std::time::Duration;

use encanto::api::backend::Backend;
use encanto::model::{Event, Hook, MachineId, Model, Observed, UnitActivity, UnitName, check};
use encanto::plan::nudge::Concerned;
use encanto::plan::settled::{Condition, Target, at_rest};
use encanto::worker::waiter::{Told, wait};

use super::scenario::{PATIENCE, Scenario};

impl Scenario {
    /// Waits until `holds`, and tells the last seen state if that never comes.
    pub async fn until(&self, what: &str, holds: impl Fn(&Model) -> bool) {
        let ledger = &self.controller().world.ledger;
        let mut changes = ledger.changes();
        let comes = async {
            loop {
                changes.mark_unchanged();
                let reached = holds(&ledger.model());
                if reached || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let reached = tokio::time::timeout(PATIENCE, comes).await;
        if reached.is_err() {
            panic!("{what} never came; last seen: {:#?}", self.status().await);
        }
    }

    /// Waits until `holds` for what is seen of the world.
    pub async fn until_observed(&self, what: &str, holds: impl Fn(&Observed) -> bool) {
        let ledger = &self.controller().world.ledger;
        let mut changes = ledger.changes();
        let comes = async {
            loop {
                changes.mark_unchanged();
                let reached = holds(&ledger.observed());
                if reached || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, comes).await.is_err() {
            panic!("{what} never came; last seen: {:#?}", self.status().await);
        }
    }

    /// Waits until nobody has anything to do.
    pub async fn settle(&self) {
        let ledger = &self.controller().world.ledger;
        let mut changes = ledger.changes();
        let settled = async {
            loop {
                changes.mark_unchanged();
                if at_rest(&ledger.model(), &ledger.observed()) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, settled).await.is_err() {
            let activity = ledger.observed().clone();
            panic!("it never came to rest: {activity:#?}\n{:#?}", self.status().await);
        }
    }

    pub fn ledger(&self) -> encanto::worker::ledger::Ledger {
        self.controller().world.ledger.clone()
    }

    /// Waits until the machine's instance was seen in this state, and the provider was asked to start one so often.
    pub async fn until_instance(&self, machine: u32, state: &str, starts: usize) {
        let mut changes = self.ledger().changes();
        let seen = async {
            loop {
                changes.mark_unchanged();
                let status = self.status().await.machines[&machine.to_string()].instance_state.clone();
                let started = self.provider.calls().iter().filter(|call| call.kind == "start").count();
                if status.as_deref() == Some(state) && started == starts {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("machine {machine} was never {state}: {:#?}", self.status().await);
        }
    }

    /// A started machine must not say that it is being made.
    pub async fn machine_is_started(&self, machine: u32) -> bool {
        let now = self.status().await.machines[&machine.to_string()].clone();
        let started = now.agent_state.as_deref() == Some("started");
        assert!(!started || now.agent_state_info.is_none(), "{now:#?}");
        started
    }

    /// What `wait` gives as reasons; none if all is well.
    pub async fn wait_fails(&self, targets: &[Target], condition: Condition) -> Vec<String> {
        self.wait_at_most(targets, condition, PATIENCE).await
    }

    /// The same for somebody with so much time.
    pub async fn wait_at_most(&self, targets: &[Target], condition: Condition, limit: Duration) -> Vec<String> {
        let (told, mut tells) = tokio::sync::mpsc::channel(64);
        tokio::spawn(wait(self.ledger(), targets.to_vec(), condition, Some(limit), told));
        while let Some(tell) = tells.recv().await {
            match tell {
                Told::Progress(_) => {}
                Told::Ready => return Vec::new(),
                Told::Failed(reasons) | Told::TimedOut(reasons) => return reasons,
            }
        }
        panic!("the wait ended without an end");
    }

    /// As an operator waits: until every unit is active and nothing is pending.
    pub async fn wait_active(&self) {
        assert_eq!(self.wait_fails(&[], Condition::Active).await, [""; 0]);
    }

    /// Waits until `unit` runs `hook`, or `action NAME (ID)`.
    pub async fn until_runs(&self, unit: &str, hook: &str) {
        let ledger = &self.controller().world.ledger;
        let name: UnitName = unit.parse().unwrap();
        let mut changes = ledger.changes();
        let runs = async {
            loop {
                changes.mark_unchanged();
                let runs = |doing: &UnitActivity| doing.to_string() == format!("running {hook}");
                if ledger.observed().unit_activity.get(&name).is_some_and(runs) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, runs).await.is_err() {
            panic!("{unit} never ran {hook}: {:#?}", self.status().await);
        }
    }

    /// The end of every story: all is consistent, and looking again at everything finds nothing to do.
    pub async fn nothing_more_happens(&self) {
        self.settle().await;
        let ledger = &self.controller().world.ledger;
        let problems = self.backend().problems().await;
        assert!(problems.is_empty(), "{problems:#?}");
        let everyone = Concerned::everyone(&ledger.model());
        let due: Vec<String> = everyone
            .units
            .iter()
            .filter_map(|unit| Some(format!("{unit}: {:?}", encanto::plan::hooks::next(&ledger.model(), unit)?)))
            .collect();
        assert!(due.is_empty(), "still due: {due:?}");
        assert!(check::inconsistencies(&ledger.model()).is_empty());
    }

    /// Every hook that was committed, in order, e.g. `db/0 install`.
    pub fn hooks(&self) -> Vec<String> {
        let events = self.journal.entries().into_iter().map(|entry| entry.event);
        events
            .filter_map(|event| match event {
                Event::HookCommitted { unit, hook, .. } => Some(format!("{unit} {}", shown(&hook))),
                Event::HookSkipped { unit, hook, .. } => Some(format!("{unit} {} (skipped)", shown(&hook))),
                _ => None,
            })
            .collect()
    }

    pub fn hooks_of(&self, unit: &str) -> Vec<String> {
        let own = format!("{unit} ");
        self.hooks().iter().filter_map(|hook| hook.strip_prefix(&own).map(str::to_owned)).collect()
    }

    /// Every hook of the unit that was committed, from its first.
    pub fn expect_hooks(&self, unit: &str, hooks: &[&str]) {
        assert_eq!(self.hooks_of(unit), hooks, "the hooks of {unit}");
    }

    /// The last ones of the unit.
    pub fn expect_last_hooks(&self, unit: &str, hooks: &[&str]) {
        let all = self.hooks_of(unit);
        assert_eq!(all[all.len().saturating_sub(hooks.len())..], *hooks, "the last hooks of {unit}: {all:#?}");
    }

    /// What the unit's agent says about itself.
    pub async fn info_of(&self, unit: &str) -> String {
        let status = self.status().await;
        let service = unit.split('/').next().unwrap();
        status.services[service].units[unit].agent_state_info.clone().unwrap_or_default()
    }

    pub async fn expect_status(&self, unit: &str, agent: &str, workload: &str) {
        let status = self.status().await;
        let service = unit.split('/').next().unwrap();
        let found = &status.services[service].units[unit];
        let seen = (found.agent_state.as_str(), found.workload_status.current.as_str());
        assert_eq!(seen, (agent, workload), "{found:#?}");
    }

    pub fn model(&self) -> Model {
        self.controller().world.ledger.model().clone()
    }

    pub fn machine_numbers(&self) -> Vec<u32> {
        self.model().machines.keys().filter(|id| **id != MachineId::HOST).map(|id| id.number()).collect()
    }
}

/// The hook's name, and whom it is about: `db-relation-joined app/0`.
fn shown(hook: &Hook) -> String {
    match hook {
        Hook::Relation { kind, .. } => match kind.remote() {
            Some(remote) => format!("{hook} {remote}"),
            None => hook.to_string(),
        },
        _ => hook.to_string(),
    }
}
