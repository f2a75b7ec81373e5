//! What the host functions of one hook share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::model::{Port, RelationId, Settings, SettingsChange};

use super::journal::Journal;
use super::{CharmFiles, HookContext, HookOutcome, MachineAccess, RelationContext};

pub struct Scene {
    pub machine: Arc<dyn MachineAccess>,
    pub files: Arc<CharmFiles>,
    pub journal: Arc<Journal>,
    /// When the hook's total time is over.
    pub deadline: Instant,
}

/// What a hook knows and what it has written so far; its reads see its writes.
pub struct Draft {
    pub context: HookContext,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    ports: BTreeSet<Port>,
    /// This unit's settings in the relations it wrote to, whole.
    settings: BTreeMap<RelationId, Settings>,
    /// The leader's settings, whole.
    leader: Option<Settings>,
}

impl Draft {
    pub fn new(context: HookContext) -> Arc<Self> {
        let written = Written { ports: context.open_ports.clone(), ..Written::default() };
        Arc::new(Draft { context, written: Mutex::new(written) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ports(&self) -> BTreeSet<Port> {
        self.written().ports.clone()
    }

    pub fn open(&self, port: Port) {
        self.written().ports.insert(port);
    }

    pub fn close(&self, port: Port) {
        self.written().ports.remove(&port);
    }

    pub fn relation(&self, id: RelationId) -> Option<&RelationContext> {
        self.context.relations.get(&id)
    }

    /// This unit's own settings in a relation.
    pub fn own(&self, id: RelationId) -> Settings {
        let before = || self.relation(id).map(|relation| relation.local.clone()).unwrap_or_default();
        self.written().settings.get(&id).cloned().unwrap_or_else(before)
    }

    pub fn set(&self, id: RelationId, change: SettingsChange) {
        let now = overlaid(self.own(id), change);
        self.written().settings.insert(id, now);
    }

    /// What the leader tells the other units.
    pub fn leader_settings(&self) -> Settings {
        self.written().leader.clone().unwrap_or_else(|| self.context.leader_settings.clone())
    }

    pub fn set_leader(&self, change: SettingsChange) {
        let now = overlaid(self.leader_settings(), change);
        self.written().leader = Some(now);
    }

    /// What differs from the context. State is the caller's.
    pub fn outcome(&self) -> HookOutcome {
        let (written, before) = (self.written(), &self.context.open_ports);
        let changes = written.settings.iter().filter_map(|(id, now)| {
            let before = &self.relation(*id)?.local;
            let change = difference(before, now);
            (!change.is_empty()).then_some((*id, change))
        });
        let leader = written.leader.as_ref();
        HookOutcome {
            relation_settings: changes.collect(),
            leader_settings: leader.map(|now| difference(&self.context.leader_settings, now)).unwrap_or_default(),
            opened: written.ports.difference(before).copied().collect(),
            closed: before.difference(&written.ports).copied().collect(),
            state: None,
        }
    }
}

fn overlaid(mut settings: Settings, change: SettingsChange) -> Settings {
    for (key, setting) in change {
        match setting {
            Some(setting) => drop(settings.insert(key, setting)),
            None => drop(settings.shift_remove(&key)),
        }
    }
    settings
}

fn difference(before: &Settings, now: &Settings) -> SettingsChange {
    let set = now.iter().filter(|(key, setting)| before.get(*key) != Some(*setting));
    let deleted = before.keys().filter(|key| !now.contains_key(*key));
    set.map(|(key, setting)| (key.clone(), Some(setting.clone())))
        .chain(deleted.map(|key| (key.clone(), None)))
        .collect()
}
