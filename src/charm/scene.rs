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
}

impl Draft {
    pub fn new(context: HookContext) -> Arc<Self> {
        let written = Written { ports: context.open_ports.clone(), settings: BTreeMap::new() };
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
        let mut own = self.own(id);
        for (key, setting) in change {
            match setting {
                Some(setting) => drop(own.insert(key, setting)),
                None => drop(own.shift_remove(&key)),
            }
        }
        self.written().settings.insert(id, own);
    }

    /// What differs from the context. State is the caller's.
    pub fn outcome(&self) -> HookOutcome {
        let (written, before) = (self.written(), &self.context.open_ports);
        let changes = written.settings.iter().filter_map(|(id, now)| {
            let before = &self.relation(*id)?.local;
            let change = difference(before, now);
            (!change.is_empty()).then_some((*id, change))
        });
        HookOutcome {
            relation_settings: changes.collect(),
            opened: written.ports.difference(before).copied().collect(),
            closed: before.difference(&written.ports).copied().collect(),
            state: None,
        }
    }
}

fn difference(before: &Settings, now: &Settings) -> SettingsChange {
    let set = now.iter().filter(|(key, setting)| before.get(*key) != Some(*setting));
    let deleted = before.keys().filter(|key| !now.contains_key(*key));
    set.map(|(key, setting)| (key.clone(), Some(setting.clone())))
        .chain(deleted.map(|key| (key.clone(), None)))
        .collect()
}
