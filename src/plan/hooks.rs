//! Which hook is due for a unit.
//!
//! # Guarantees
//! install, relation-created for the relations known by then, leader-elected for the first of its service (and for its
//! successor once it goes) or leader-settings-changed for the others, config-changed, start; then relation hooks.
//! After a change of the charm, upgrade-charm comes before anything else, config-changed after it.
//! joined(u) is followed at once by changed(u). departed comes once for each unit that was joined, broken once and
//! last, never for a peer relation. A dying unit departs, breaks, stops, and waits for its subordinates, which are dying
//! too. In a container-scoped relation a unit knows its own principal or its own subordinate and nobody else. A unit in
//! error gets no hook until it is resolved, unless it is dying; then the failed hook is the first to be run.

use crate::model::{
    Hook, Life, Machine, Millis, Model, Presence, Provision, Relation, RelationHook, RelationId, Unit, UnitName,
    UnitScope,
};

use super::patience;

/// One thing to do for a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitStep {
    Run(Hook),
    /// Let its hooks for the relation begin.
    Admit(RelationId),
    /// Leave a relation that needs no (more) hook.
    Leave(RelationId),
    /// Nothing is left to do for a dying unit: take it out.
    Finish,
}

/// The next step for `name`; `None` when it is at rest (or waits for its machine, or for an operator).
pub fn next(model: &Model, name: &UnitName) -> Option<UnitStep> {
    let unit = model.units.get(name)?;
    let machine = model.machines.get(&unit.machine);
    let machine_ready = match machine.map(|machine| &machine.provision) {
        // An operator has stopped it, or it will be back in a moment.
        Some(Provision::Running { .. }) if !machine.is_some_and(Machine::is_up) => return None,
        Some(Provision::Running { prepared, .. }) => Some(prepared.as_ref() == Some(&unit.charm)),
        _ => None,
    };
    if unit.life == Life::Dying {
        return dying(model, unit, machine_ready.is_some());
    }
    let by_layer = machine_ready?;
    if unit.failed.is_some() {
        return None;
    }
    let prepares = model.charm_of(unit).is_some_and(|charm| charm.meta.prepares);
    if prepares && !by_layer && !unit.prepared_in_place && (!unit.installed || unit.upgrading) {
        return Some(UnitStep::Run(Hook::Prepare));
    }
    if !unit.installed {
        return Some(UnitStep::Run(Hook::Install));
    }
    if unit.upgrading {
        return Some(UnitStep::Run(Hook::UpgradeCharm));
    }
    retried(model, unit)
        .or_else(|| joined_awaits_changed(model, unit))
        .or_else(|| admission(model, unit))
        .or_else(|| leadership(model, unit))
        .or_else(|| config_changed(model, unit))
        .or_else(|| (!unit.started).then_some(UnitStep::Run(Hook::Start)))
        .or_else(|| unit.scopes.iter().find_map(|(id, scope)| relation_step(model, unit, *id, scope)))
}

/// How many milliseconds after its last failure a failed hook is to be run again. `None` if the unit is not in error.
pub fn retry_delay(unit: &Unit, first: Millis) -> Option<Millis> {
    unit.failed.as_ref()?;
    Some(patience::delay(first, unit.failures))
}

/// What is left of that; zero is now.
pub fn retry_in(unit: &Unit, first: Millis, now: Millis) -> Option<Millis> {
    Some(patience::rest_of(retry_delay(unit, first)?, unit.failed.as_ref()?.at, now))
}

/// The delay, if trying is likely to help: a hook that failed often in a row is for an operator, though it is tried still.
pub fn promising_retry(unit: &Unit, first: Option<Millis>) -> Option<Millis> {
    retry_delay(unit, first?).filter(|_| unit.life == Life::Alive && unit.failures < patience::HOPELESS)
}

/// What failed comes first when it is tried again, unless there is nothing any more that it could be about.
fn retried(model: &Model, unit: &Unit) -> Option<UnitStep> {
    let hook = unit.retried.as_ref()?;
    let due = match hook {
        Hook::LeaderElected | Hook::LeaderSettingsChanged => {
            leadership(model, unit) == Some(UnitStep::Run(hook.clone()))
        }
        Hook::Relation { relation, kind, .. } => {
            let (scope, relation) = (unit.scope(*relation)?, model.relations.get(relation)?);
            match kind {
                RelationHook::Created => !scope.created && relation.life == Life::Alive,
                RelationHook::Joined(remote) => {
                    relation.life == Life::Alive && entered(relation, remote) && !scope.seen.contains_key(remote)
                }
                RelationHook::Changed(remote) => entered(relation, remote) && scope.seen.contains_key(remote),
                RelationHook::Departed(remote) => scope.seen.contains_key(remote),
                RelationHook::Broken => true,
            }
        }
        _ => true,
    };
    due.then(|| UnitStep::Run(hook.clone()))
}

/// Right after joined comes changed, whatever else is due; or departed, if the other was removed by force meanwhile.
fn joined_awaits_changed(model: &Model, unit: &Unit) -> Option<UnitStep> {
    unit.scopes.iter().find_map(|(id, scope)| {
        let relation = model.relations.get(id)?;
        let (remote, _) = scope.seen.iter().find(|(_, version)| version.is_none())?;
        let changed = entered(relation, remote);
        let kind = if changed { RelationHook::Changed } else { RelationHook::Departed };
        Some(run(relation, unit, kind(remote.clone())))
    })
}

fn admission(model: &Model, unit: &Unit) -> Option<UnitStep> {
    let service = model.services.get(&unit.name.service)?;
    service.relations.iter().find_map(|id| {
        let relation = model.relations.get(id)?;
        if !model.may_enter(&unit.name, *id) {
            return None;
        }
        match unit.scope(*id) {
            None => Some(UnitStep::Admit(*id)),
            Some(scope) if !scope.created => Some(run(relation, unit, RelationHook::Created)),
            Some(_) => None,
        }
    })
}

/// The leader is told once that it leads, the others whenever it has written, and once before they start. Only a charm
/// that declares the hook is told: others ask in whatever hook comes.
fn leadership(model: &Model, unit: &Unit) -> Option<UnitStep> {
    let service = model.services.get(&unit.name.service)?;
    let elected = !unit.elected && declares(model, unit, &Hook::LeaderElected);
    let written =
        unit.leader_seen != Some(service.leader_version) && declares(model, unit, &Hook::LeaderSettingsChanged);
    if !elected && !written {
        return None;
    }
    match model.leader(service) {
        Some(leader) if leader == unit.name => elected.then_some(UnitStep::Run(Hook::LeaderElected)),
        _ => written.then_some(UnitStep::Run(Hook::LeaderSettingsChanged)),
    }
}

fn declares(model: &Model, unit: &Unit, hook: &Hook) -> bool {
    model.charm_of(unit).is_some_and(|charm| charm.meta.declares(hook))
}

/// Whether the unit wants its update-status hook from time to time: it has started, is well, and its charm has one.
pub fn wants_update_status(model: &Model, name: &UnitName) -> bool {
    model.units.get(name).is_some_and(|unit| {
        let well = unit.started && unit.failed.is_none() && unit.life == Life::Alive;
        let up = model.machines.get(&unit.machine).is_some_and(Machine::is_up);
        well && up && declares(model, unit, &Hook::UpdateStatus)
    })
}

fn config_changed(model: &Model, unit: &Unit) -> Option<UnitStep> {
    let service = model.services.get(&unit.name.service)?;
    (unit.config_seen != Some(service.config_version)).then_some(UnitStep::Run(Hook::ConfigChanged))
}

/// Within a relation: departed first, then broken, then joined, then changed; units in order.
fn relation_step(model: &Model, unit: &Unit, id: RelationId, scope: &UnitScope) -> Option<UnitStep> {
    let relation = model.relations.get(&id)?;
    if let Some(gone) = scope.seen.keys().find(|remote| !entered(relation, remote)) {
        return Some(run(relation, unit, RelationHook::Departed(gone.clone())));
    }
    if relation.life == Life::Dying {
        return Some(end(relation, unit, scope));
    }
    let newcomer = relation
        .remotes_of(&unit.name)
        .find(|(remote, member)| member.presence == Presence::Entered && !scope.seen.contains_key(*remote));
    if let Some((remote, _)) = newcomer {
        return Some(run(relation, unit, RelationHook::Joined(remote.clone())));
    }
    let changed = relation
        .remotes_of(&unit.name)
        .find(|(remote, member)| scope.seen.get(*remote).is_some_and(|seen| *seen != Some(member.version)));
    changed.map(|(remote, _)| run(relation, unit, RelationHook::Changed(remote.clone())))
}

fn dying(model: &Model, unit: &Unit, machine_ready: bool) -> Option<UnitStep> {
    if let Some((id, scope)) = unit.scopes.iter().next() {
        return Some(match model.relations.get(id) {
            Some(relation) if machine_ready => end(relation, unit, scope),
            _ => UnitStep::Leave(*id),
        });
    }
    if unit.started && !unit.stopped && machine_ready {
        return Some(UnitStep::Run(Hook::Stop));
    }
    unit.subordinates.is_empty().then_some(UnitStep::Finish)
}

/// departed for everyone it knows, then broken; a peer relation is left without broken.
fn end(relation: &Relation, unit: &Unit, scope: &UnitScope) -> UnitStep {
    if let Some(remote) = scope.seen.keys().next() {
        return run(relation, unit, RelationHook::Departed(remote.clone()));
    }
    if relation.is_peer() || !scope.created {
        return UnitStep::Leave(relation.id);
    }
    run(relation, unit, RelationHook::Broken)
}

fn entered(relation: &Relation, remote: &UnitName) -> bool {
    relation.members.get(remote).is_some_and(|member| member.presence == Presence::Entered)
}

fn run(relation: &Relation, unit: &Unit, kind: RelationHook) -> UnitStep {
    let endpoint = relation.endpoint_of(&unit.name.service).or(relation.endpoints.first());
    match endpoint {
        Some(endpoint) => {
            UnitStep::Run(Hook::Relation { relation: relation.id, endpoint: endpoint.endpoint.clone(), kind })
        }
        None => UnitStep::Leave(relation.id),
    }
}
