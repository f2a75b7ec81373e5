//! Judges hooks by Juju's promises. It knows the journal, and what begins and ends on machines; nothing of `plan`.
//!
//! What is judged, each as soon as it can be seen:
//! - install once before all else, config-changed before start, start once, stop last and only when dying;
//! - joined is followed at once by changed; departed comes for each joined unit before broken, and only for a cause;
//!   broken comes once and last, and never to a peer;
//! - no hook without a reason (coalesced changes), none for a unit in error, two never at a time on a machine;
//! - a hook that was cut off or failed is the next to run, unless something happened to its unit meanwhile;
//! - nothing counts as run that did not run; leader-elected is for the first of a service, once;
//! - an action begins at most once, in its turn, on a unit that is ready for it, alone on its machine; what was cut off
//!   or cancelled ends as that, and only what completed writes;
//! - whatever begins is shown the state that was written last;
//! - at rest everybody has seen what there is ([`Oracle::at_rest`]).

mod act;
mod begin;
mod rest;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

use encanto::charm::HookContext;
use encanto::model::{
    ActionId, CharmMeta, CharmUrl, Event, Hook, HookWrites, MachineId, RelationEndpoint, RelationHook, RelationId,
    Scope, ServiceName, Settings, UnitName,
};

#[derive(Default)]
pub struct Oracle {
    charms: BTreeMap<CharmUrl, CharmMeta>,
    services: BTreeMap<ServiceName, ServiceSeen>,
    units: BTreeMap<UnitName, UnitSeen>,
    relations: BTreeMap<RelationId, RelationSeen>,
    actions: BTreeMap<ActionId, act::ActionSeen>,
    /// Machines that came up.
    up: BTreeSet<MachineId>,
    /// Why nothing begins on a machine that came up.
    held: BTreeMap<MachineId, BTreeSet<&'static str>>,
    /// What is recorded now was asked for by force: hooks are left out.
    force: bool,
    problems: Vec<String>,
}

struct ServiceSeen {
    charm: CharmUrl,
    /// What it ran before: a hook may have been decided by that.
    previous: Option<CharmUrl>,
    dying: bool,
    /// Grows with everything by which the next hook of its units may become another one.
    ticks: u64,
    /// What the leader has said.
    led: Settings,
}

struct UnitSeen {
    machine: MachineId,
    /// The principal of its container, which may be itself.
    home: UnitName,
    dying: bool,
    installed: bool,
    configured: bool,
    started: bool,
    stopped: bool,
    elected: bool,
    /// The leader has written since it looked last.
    led_due: bool,
    upgrading: bool,
    /// Something happened after which config-changed has a reason to run.
    config_due: bool,
    /// What the last config-changed saw.
    config: Option<String>,
    failed: Option<Hook>,
    run: Option<Run>,
    /// Was cut off or failed, and how far the service was then.
    again: Option<(Hook, u64)>,
    scopes: BTreeMap<RelationId, ScopeSeen>,
    /// What it keeps between hooks.
    state: serde_json::Map<String, serde_json::Value>,
}

impl UnitSeen {
    fn on(machine: MachineId, home: UnitName) -> UnitSeen {
        UnitSeen {
            machine,
            home,
            dying: false,
            installed: false,
            configured: false,
            started: false,
            stopped: false,
            elected: false,
            led_due: true,
            upgrading: false,
            config_due: true,
            config: None,
            failed: None,
            run: None,
            again: None,
            scopes: BTreeMap::new(),
            state: serde_json::Map::new(),
        }
    }
}

struct Run {
    hook: Hook,
    /// What it looked at: the configuration, or the remote unit's settings.
    saw: Option<String>,
    /// Whether beginning it took away its reason.
    was_due: bool,
    ticks: u64,
    end: Option<End>,
}

impl Run {
    /// One that wrote as the leader and leads no more counts as failed although it returned.
    fn failed(&self, hook: &Hook, message: &str) -> bool {
        let late = self.end == Some(End::Returned) && message.starts_with("the unit ceased to lead");
        self.hook == *hook && (late || self.end == Some(End::Failed))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Returned,
    Failed,
    CutOff,
}

#[derive(Default)]
struct ScopeSeen {
    created: bool,
    gone: bool,
    /// By force, whatever was decided before.
    cut: bool,
    joined: BTreeMap<UnitName, RemoteSeen>,
}

#[derive(Default)]
struct RemoteSeen {
    changed: bool,
    due: bool,
    settings: Option<String>,
}

struct RelationSeen {
    endpoints: Vec<RelationEndpoint>,
    dying: bool,
    settings: BTreeMap<UnitName, Settings>,
}

impl Oracle {
    /// What is wrong so far, taken out.
    pub fn problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// The hook or action that `context` names ended on its machine.
    pub fn ends(&mut self, context: &HookContext, end: End) {
        match end {
            end if matches!(context.hook, Hook::Action(_)) => self.action_ends(context, end),
            End::CutOff => self.cut_off(&context.unit),
            end => {
                // A unit that is gone may still see its hook end.
                if let Some(run) = self.units.get_mut(&context.unit).and_then(|unit| unit.run.as_mut()) {
                    run.end = Some(end);
                }
            }
        }
    }

    /// Everything that ran was cut off, and what ended but was not written down is forgotten.
    pub fn controller_died(&mut self) {
        let units: Vec<UnitName> = self.units.keys().cloned().collect();
        units.iter().for_each(|unit| self.cut_off(unit));
        self.actions_cut_off();
    }

    /// A hook that did not count has its reason again, and is the next to come.
    fn cut_off(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get_mut(name) else { return };
        let Some(run) = unit.run.take() else { return };
        if run.was_due {
            set_due(unit, &run.hook);
        }
        if run.hook != Hook::UpdateStatus {
            unit.again = Some((run.hook, run.ticks));
        }
    }

    /// Whether what is recorded next was asked for by force.
    pub fn by_force(&mut self, force: bool) {
        self.force = force;
    }

    /// An entry was written to the journal.
    pub fn recorded(&mut self, event: &Event) {
        self.hold(event);
        match event {
            Event::CharmAdded { url, meta, .. } => drop(self.charms.insert(url.clone(), (**meta).clone())),
            Event::MachineProvisioned { machine, .. } => drop(self.up.insert(*machine)),
            Event::MachineRemoved { machine } => drop(self.up.remove(machine)),
            Event::ServiceAdded { service, charm, .. } => {
                let added =
                    ServiceSeen { charm: charm.clone(), previous: None, dying: false, ticks: 0, led: Settings::new() };
                self.services.insert(service.clone(), added);
            }
            Event::ServiceConfigured { service, .. } | Event::ServiceUnset { service, .. } => self.config_due(service),
            Event::ServiceUpgraded { service, charm, .. } => self.upgraded(service, charm),
            Event::ServiceDying { service } => {
                self.stir(service);
                self.services.entry(service.clone()).and_modify(|service| service.dying = true);
            }
            Event::ServiceRemoved { service } => drop(self.services.remove(service)),
            Event::UnitAdded { .. }
            | Event::UnitDying { .. }
            | Event::UnitRemoved { .. }
            | Event::HookCommitted { .. }
            | Event::HookFailed { .. }
            | Event::HookRetried { .. }
            | Event::HookSkipped { .. } => self.unit_event(event),
            Event::ActionQueued { .. }
            | Event::ActionStarted { .. }
            | Event::ActionCancelled { .. }
            | Event::ActionEnded { .. } => self.action_event(event),
            Event::RelationAdded { .. }
            | Event::RelationDying { .. }
            | Event::RelationRemoved { .. }
            | Event::ScopeAdmitted { .. }
            | Event::ScopeLeft { .. } => self.relation_event(event),
            _ => {}
        }
    }

    fn unit_event(&mut self, event: &Event) {
        match event {
            Event::UnitAdded { unit, machine, principal } => {
                let home = principal.clone().unwrap_or_else(|| unit.clone());
                if self.company(&home, &unit.service).next().is_some() {
                    self.problems.push(format!("{home} has two units of {} with it", unit.service));
                }
                self.units.insert(unit.clone(), UnitSeen::on(*machine, home));
                self.stir(&unit.service);
            }
            Event::UnitDying { unit } => {
                self.units.entry(unit.clone()).and_modify(|unit| unit.dying = true);
                self.actions_dropped(unit, false);
                self.stir(&unit.service);
            }
            Event::UnitRemoved { unit, .. } => {
                self.units.remove(unit);
                self.actions_dropped(unit, true);
                if self.units.values().any(|other| other.home == *unit) {
                    self.problems.push(format!("{unit} went before its subordinates"));
                }
                self.stir(&unit.service);
            }
            Event::HookCommitted { unit, hook, writes } => {
                self.committed(unit, hook, writes);
                self.stir(&unit.service);
            }
            Event::HookFailed { unit, hook, message } => self.failed(unit, hook, message),
            Event::HookRetried { unit } => {
                self.units.entry(unit.clone()).and_modify(|unit| unit.failed = None);
            }
            Event::HookSkipped { unit, hook, message } => {
                self.skipped(unit, hook, message);
                self.stir(&unit.service);
            }
            _ => {}
        }
    }

    fn relation_event(&mut self, event: &Event) {
        match event {
            Event::RelationAdded { relation, endpoints } => {
                let added = RelationSeen { endpoints: endpoints.clone(), dying: false, settings: BTreeMap::new() };
                self.relations.insert(*relation, added);
                self.stir(&endpoints[0].service);
            }
            Event::RelationDying { relation } => {
                let service = self.relations.get_mut(relation).map(|relation| {
                    relation.dying = true;
                    relation.endpoints[0].service.clone()
                });
                service.iter().for_each(|service| self.stir(service));
            }
            Event::RelationRemoved { relation } => {
                let ends = self.relations.get(relation).map(|relation| relation.endpoints.clone());
                ends.iter().flatten().for_each(|end| self.stir(&end.service));
                self.relations.remove(relation);
                for unit in self.units.values_mut() {
                    unit.scopes.remove(relation);
                }
            }
            Event::ScopeAdmitted { unit, relation } => {
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.scopes.insert(*relation, ScopeSeen::default());
                }
                self.stir(&unit.service);
            }
            Event::ScopeLeft { unit, relation } => {
                self.leave(unit, *relation);
                self.stir(&unit.service);
            }
            _ => {}
        }
    }

    /// The next hook of this service's units, and of those related to it, may be another one now.
    fn stir(&mut self, service: &ServiceName) {
        let shared = self.relations.values().filter(|relation| relation.has(service));
        let near: BTreeSet<&ServiceName> =
            shared.flat_map(|relation| relation.endpoints.iter().map(|end| &end.service)).chain([service]).collect();
        for name in near {
            if let Some(service) = self.services.get_mut(name) {
                service.ticks += 1;
            }
        }
    }

    fn config_due(&mut self, service: &ServiceName) {
        self.units_of(service).for_each(|unit| unit.config_due = true);
        self.stir(service);
    }

    fn upgraded(&mut self, service: &ServiceName, charm: &CharmUrl) {
        let old = self.services.get(service).and_then(|service| self.charms.get(&service.charm));
        if old.is_none_or(|meta| !meta.declares(&Hook::LeaderSettingsChanged)) {
            // What was said while nobody wanted to hear it is not news for the next version.
            self.units_of(service).filter(|unit| unit.started).for_each(|unit| unit.led_due = false);
        }
        if let Some(service) = self.services.get_mut(service) {
            service.previous = Some(std::mem::replace(&mut service.charm, charm.clone()));
        }
        self.units_of(service).for_each(|unit| unit.upgrading = unit.installed);
        self.config_due(service);
    }

    fn units_of<'a>(&'a mut self, service: &ServiceName) -> impl Iterator<Item = &'a mut UnitSeen> + use<'a> {
        let first = UnitName { service: service.clone(), number: 0 };
        let last = UnitName { service: service.clone(), number: u32::MAX };
        self.units.range_mut(first..=last).map(|(_, unit)| unit)
    }

    fn failed(&mut self, name: &UnitName, hook: &Hook, message: &str) {
        let Some(unit) = self.units.get_mut(name) else { return };
        // A layer is prepared for a unit, not by it.
        let ran = unit.run.as_ref().is_some_and(|run| run.failed(hook, message));
        if !ran && *hook != Hook::Prepare {
            self.problems.push(format!("{name}: {hook} is in error and did not fail"));
        }
        self.cut_off(name);
        self.units.entry(name.clone()).and_modify(|unit| unit.failed = Some(hook.clone()));
    }

    fn skipped(&mut self, name: &UnitName, hook: &Hook, message: &str) {
        let Some(unit) = self.units.get_mut(name) else { return };
        let failed = unit.run.as_ref().is_some_and(|run| run.failed(hook, message));
        let resolved = unit.failed.as_ref() == Some(hook);
        if !resolved && !(unit.dying && (failed || *hook == Hook::Prepare)) {
            self.problems.push(format!("{name}: {hook} was skipped and had not failed"));
        }
        self.cut_off(name);
        self.counts(name, hook, None);
    }

    fn committed(&mut self, name: &UnitName, hook: &Hook, writes: &HookWrites) {
        let Some(unit) = self.units.get_mut(name) else {
            self.problems.push(format!("{name} is gone, and {hook} was committed"));
            return;
        };
        let run = unit.run.take_if(|run| run.hook == *hook && run.end == Some(End::Returned));
        if run.is_none() {
            if *hook != Hook::Prepare && self.is_declared(name, hook) {
                self.problems.push(format!("{name}: {hook} was committed and had not returned"));
            }
            if !self.was_cut(name, hook) {
                self.in_order(name, hook);
            }
        }
        self.wrote_all(name, writes);
        self.counts(name, hook, Some(run));
    }

    /// Whether the charm has the function, whichever of its last two versions decided.
    fn is_declared(&self, unit: &UnitName, hook: &Hook) -> bool {
        let Some(service) = self.services.get(&unit.service) else { return false };
        let mut charms = [Some(&service.charm), service.previous.as_ref()].into_iter().flatten();
        charms.all(|url| self.charms.get(url).is_some_and(|meta| meta.hooks.contains(&hook.to_string())))
    }

    /// The hook counts as run. `None` if it was skipped; no run in it if its charm does not have it.
    fn counts(&mut self, name: &UnitName, hook: &Hook, run: Option<Option<Run>>) {
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.failed = None;
        unit.again = None;
        let skipped = run.is_none();
        let saw = run.flatten().and_then(|run| run.saw);
        match hook {
            Hook::Install => unit.installed = true,
            Hook::ConfigChanged => (unit.configured, unit.config) = (true, saw),
            Hook::Start => unit.started = true,
            Hook::Stop => unit.stopped = true,
            Hook::LeaderElected => unit.elected = true,
            Hook::LeaderSettingsChanged if skipped => unit.led_due = false,
            Hook::UpgradeCharm => (unit.upgrading, unit.config_due) = (false, true),
            Hook::Relation { relation, kind, .. } => self.relation_counts(name, (*relation, kind), saw),
            _ => {}
        }
    }

    fn relation_counts(&mut self, name: &UnitName, (id, kind): (RelationId, &RelationHook), saw: Option<String>) {
        let Some(scope) = self.units.get_mut(name).and_then(|unit| unit.scopes.get_mut(&id)) else { return };
        match kind {
            RelationHook::Created => scope.created = true,
            RelationHook::Joined(remote) => {
                scope.joined.insert(remote.clone(), RemoteSeen { due: true, ..RemoteSeen::default() });
            }
            RelationHook::Changed(remote) => {
                let remote = scope.joined.entry(remote.clone()).or_default();
                (remote.changed, remote.settings) = (true, saw);
            }
            RelationHook::Departed(remote) => drop(scope.joined.remove(remote)),
            RelationHook::Broken => self.leave(name, id),
        }
    }

    fn leave(&mut self, name: &UnitName, relation: RelationId) {
        let Some(scope) = self.units.get_mut(name).and_then(|unit| unit.scopes.get_mut(&relation)) else { return };
        if !scope.joined.is_empty() && !self.force && self.up.contains(&self.units[name].machine) {
            self.problems.push(format!("{name} left relation {relation} before all departed"));
        }
        if let Some(unit) = self.units.get_mut(name) {
            unit.scopes.insert(relation, ScopeSeen { gone: true, cut: self.force, ..ScopeSeen::default() });
        }
    }

    /// Whether the relation that the hook is about was ended by force: nothing ran, and it counts for nothing.
    fn was_cut(&self, name: &UnitName, hook: &Hook) -> bool {
        let Hook::Relation { relation, .. } = hook else { return false };
        let scope = self.units.get(name).and_then(|unit| unit.scopes.get(relation));
        !self.relations.contains_key(relation) || scope.is_some_and(|scope| scope.cut)
    }

    /// Whether others see the unit in the relation.
    fn entered(&self, relation: RelationId, name: &UnitName) -> bool {
        let Some(unit) = self.units.get(name) else { return false };
        unit.started && unit.scopes.get(&relation).is_some_and(|scope| scope.created && !scope.gone)
    }

    /// Units of the service in the container of this principal.
    fn company<'a>(&'a self, home: &'a UnitName, service: &'a ServiceName) -> impl Iterator<Item = &'a UnitName> {
        let near = self.units.iter().filter(move |(name, unit)| name.service == *service && unit.home == *home);
        near.map(|(name, _)| name)
    }

    /// Whether the units may see each other in the relation. Nothing is known of the home of who is gone.
    fn connects(&self, relation: &RelationSeen, unit: &UnitName, remote: &UnitName) -> bool {
        let across = unit.service != remote.service || relation.endpoints.len() == 1;
        let homes = [unit, remote].map(|name| self.units.get(name).map(|unit| &unit.home));
        let near = !relation.is_container() || homes[1].is_none() || homes[0] == homes[1];
        unit != remote && across && near && relation.has(&unit.service) && relation.has(&remote.service)
    }

    /// The first of the service that is alive.
    fn leader(&self, service: &ServiceName) -> Option<&UnitName> {
        self.units.iter().find(|(name, unit)| name.service == *service && !unit.dying).map(|(name, _)| name)
    }
}

impl RelationSeen {
    fn has(&self, service: &ServiceName) -> bool {
        self.endpoints.iter().any(|end| end.service == *service)
    }

    fn is_container(&self) -> bool {
        self.endpoints.iter().any(|end| end.scope == Scope::Container)
    }

    /// The other side's service; in a peer relation its own.
    fn other(&self, service: &ServiceName) -> &ServiceName {
        let mut services = self.endpoints.iter().map(|end| &end.service);
        services.find(|other| *other != service).unwrap_or(&self.endpoints[0].service)
    }
}

/// The reason for which the hook runs is there again.
fn set_due(unit: &mut UnitSeen, hook: &Hook) {
    match hook {
        Hook::ConfigChanged => unit.config_due = true,
        Hook::LeaderSettingsChanged => unit.led_due = true,
        Hook::Relation { relation, kind: RelationHook::Changed(remote), .. } => {
            if let Some(remote) = unit.scopes.get_mut(relation).and_then(|scope| scope.joined.get_mut(remote)) {
                remote.due = true;
            }
        }
        _ => {}
    }
}
