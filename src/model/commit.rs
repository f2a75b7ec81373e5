//! What a hook's commit does to its unit and to the relations that it is in; part of [`Model::apply`].

use super::entities::{Machine, Member, Presence, Unit, UnitScope};
use super::event::HookWrites;
use super::hook::{Hook, RelationHook};
use super::names::{RelationId, UnitName};
use super::settings::{Setting, Settings, SettingsChange};
use super::state::Model;

impl Model {
    pub(super) fn leave_scope(&mut self, unit: &UnitName, relation: RelationId) {
        if let Some(unit) = self.units.get_mut(unit) {
            unit.scopes.remove(&relation);
            if unit.retried.as_ref().is_some_and(|hook| hook.is_of(relation)) {
                (unit.retried, unit.failures) = (None, 0); // there is nothing any more to try it on
            }
        }
        if let Some(member) = self.relations.get_mut(&relation).and_then(|r| r.members.get_mut(unit)) {
            member.presence = Presence::Left;
        }
        self.forget_member_if_unseen(relation, unit);
    }

    /// A member that left is kept for as long as another unit has not been told.
    fn forget_member_if_unseen(&mut self, id: RelationId, gone: &UnitName) {
        let Some(relation) = self.relations.get(&id) else { return };
        if relation.members.get(gone).is_none_or(|member| member.presence != Presence::Left) {
            return;
        }
        let seen_by = |other: &UnitName| {
            self.units
                .get(other)
                .and_then(|unit| unit.scopes.get(&id))
                .is_some_and(|scope| scope.seen.contains_key(gone))
        };
        if relation.remotes_of(gone).any(|(other, _)| seen_by(other)) {
            return;
        }
        if let Some(relation) = self.relations.get_mut(&id) {
            relation.members.remove(gone);
        }
    }

    pub(super) fn commit_hook(&mut self, name: &UnitName, hook: &Hook, writes: &HookWrites) {
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.failed = None;
        unit.retried = None;
        unit.failures = 0;
        unit.take(writes);
        let mut departed = None;
        match hook {
            Hook::Prepare => unit.prepared_in_place = true,
            Hook::Install => unit.installed = true,
            Hook::UpgradeCharm => {
                unit.upgrading = false;
                unit.config_seen = None;
            }
            Hook::LeaderElected => unit.elected = true,
            Hook::LeaderSettingsChanged => unit.leader_seen = Some(writes.leader_version),
            Hook::UpdateStatus | Hook::Action(_) => {}
            Hook::ConfigChanged => unit.config_seen = Some(writes.config_version),
            Hook::Start => unit.started = true,
            Hook::Stop => unit.stopped = true,
            Hook::Relation { relation, kind, .. } => {
                // It may have left meanwhile: a dying unit does not wait until somebody resolves what failed.
                if let Some(scope) = unit.scopes.get_mut(relation) {
                    note(scope, kind, writes);
                    departed =
                        matches!(kind, RelationHook::Departed(_)).then_some(*relation).zip(kind.remote().cloned());
                }
            }
        }
        self.tell_settings(name, writes);
        self.change_leader_settings(name, &writes.leader);
        self.enter_scopes(name);
        if let Hook::Relation { relation, kind: RelationHook::Joined(remote), .. } = hook {
            self.keep_member_that_joined(name, *relation, remote);
        }
        if let Some((relation, remote)) = departed {
            self.forget_member_if_unseen(relation, &remote);
        }
        if let Hook::Relation { relation, kind: RelationHook::Broken, .. } = hook {
            self.leave_scope(name, *relation);
        }
    }

    /// The remote unit was removed by force while the joined hook ran, and nobody else knew it: this unit is to be told
    /// that it departed, although what it said is lost.
    fn keep_member_that_joined(&mut self, unit: &UnitName, relation: RelationId, remote: &UnitName) {
        let knows = self.units.get(unit).is_some_and(|unit| unit.scopes.contains_key(&relation));
        if let Some(relation) = self.relations.get_mut(&relation).filter(|_| knows) {
            let opposite = relation.is_container_scoped().then(|| unit.clone());
            let left = Member { presence: Presence::Left, settings: Settings::new(), version: 1, opposite };
            relation.members.entry(remote.clone()).or_insert(left);
        }
    }

    /// What an action wrote: it says nothing about the unit's hooks.
    pub(super) fn commit_writes(&mut self, name: &UnitName, writes: &HookWrites) {
        if let Some(unit) = self.units.get_mut(name) {
            unit.take(writes);
            self.tell_settings(name, writes);
            self.change_leader_settings(name, &writes.leader);
        }
    }

    fn tell_settings(&mut self, name: &UnitName, writes: &HookWrites) {
        for (relation, change) in &writes.settings {
            self.change_settings(name, *relation, change);
        }
    }

    fn change_settings(&mut self, unit: &UnitName, relation: RelationId, change: &SettingsChange) {
        let member = self.relations.get_mut(&relation).and_then(|relation| relation.members.get_mut(unit));
        let Some(member) = member else { return };
        member.version += u64::from(overlay(&mut member.settings, change));
    }

    fn change_leader_settings(&mut self, unit: &UnitName, change: &SettingsChange) {
        if let Some(service) = self.services.get_mut(&unit.service) {
            service.leader_version += u64::from(overlay(&mut service.leader_settings, change));
        }
    }

    /// Others see a unit once it has started and its created hook ran.
    fn enter_scopes(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get(name) else { return };
        if !unit.started {
            return;
        }
        let address = self.machines.get(&unit.machine).and_then(Machine::address);
        for (id, _) in unit.scopes.iter().filter(|(_, scope)| scope.created) {
            let Some(member) = self.relations.get_mut(id).and_then(|r| r.members.get_mut(name)) else { continue };
            if member.presence == Presence::Admitted {
                member.presence = Presence::Entered;
                if let Some(address) = address {
                    let setting = Setting::plain(address.to_string());
                    member.settings.entry("private-address".to_owned()).or_insert(setting);
                }
            }
        }
    }

    /// A skipped hook has seen what there is now.
    pub(super) fn writes_of_skipped(&self, unit: &UnitName, hook: &Hook) -> HookWrites {
        let service = self.services.get(&unit.service);
        let config_version = service.map_or(0, |service| service.config_version);
        let leader_version = service.map_or(0, |service| service.leader_version);
        let remote_version = match hook {
            Hook::Relation { relation, kind: RelationHook::Changed(remote), .. } => {
                self.relations.get(relation).and_then(|r| r.members.get(remote)).map_or(0, |member| member.version)
            }
            _ => 0,
        };
        HookWrites { config_version, remote_version, leader_version, ..HookWrites::default() }
    }
}

/// What the unit knows of the relation after this hook.
fn note(scope: &mut UnitScope, kind: &RelationHook, writes: &HookWrites) {
    match kind {
        RelationHook::Created => scope.created = true,
        RelationHook::Joined(remote) => drop(scope.seen.insert(remote.clone(), None)),
        RelationHook::Changed(remote) => drop(scope.seen.insert(remote.clone(), Some(writes.remote_version))),
        RelationHook::Departed(remote) => drop(scope.seen.remove(remote)),
        RelationHook::Broken => {}
    }
}

impl Unit {
    /// Its ports and its state as they were written.
    fn take(&mut self, writes: &HookWrites) {
        self.open_ports.extend(writes.opened.iter().copied());
        self.open_ports.retain(|port| !writes.closed.contains(port));
        if let Some(state) = &writes.state {
            self.state = state.clone();
        }
    }
}

/// Whether anything differs now.
fn overlay(settings: &mut Settings, change: &SettingsChange) -> bool {
    let before = settings.clone();
    for (key, value) in change {
        match value {
            Some(value) => drop(settings.insert(key.clone(), value.clone())),
            None => drop(settings.shift_remove(key)),
        }
    }
    *settings != before
}
