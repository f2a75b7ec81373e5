//! What a hook is to know, taken from the model at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::charm::{ActionContext, HookContext, HookOutcome, RelationContext};
use crate::model::{
    Action, ActionDecl, Hook, HookWrites, Model, Presence, Provision, Relation, RelationHook, RelationId, Settings,
    Unit, UnitName, config,
};

/// The context of `hook`, and what committing it must tell the model that it saw. `None` if the unit, its service or
/// its machine is gone.
pub fn of(model: &Model, name: &UnitName, hook: &Hook) -> Option<(HookContext, HookWrites)> {
    let unit = model.units.get(name)?;
    let service = model.services.get(&name.service)?;
    let charm = model.charm_of(unit)?;
    let address = model.machines.get(&unit.machine)?.address()?.to_string();
    let in_scope = unit.scopes.keys().filter_map(|id| model.relations.get(id));
    let relations =
        in_scope.filter_map(|relation| Some((relation.id, relation_context(relation, unit, hook)?))).collect();
    let leader = model.leader(service);
    let context = HookContext {
        hook: hook.clone(),
        unit: name.clone(),
        machine: unit.machine,
        private_address: address.clone(),
        public_address: address,
        is_leader: leader.as_ref() == Some(name),
        leader,
        leader_settings: service.leader_settings.clone(),
        config: model.effective_config(service),
        secret_config: charm.meta.config.iter().filter(|(_, decl)| decl.secret).map(|(key, _)| key.clone()).collect(),
        state: unit.state.clone(),
        open_ports: unit.open_ports.clone(),
        relations,
    };
    let seen = HookWrites {
        config_version: service.config_version,
        remote_version: remote_version(model, hook),
        leader_version: service.leader_version,
        ..HookWrites::default()
    };
    Some((context, seen))
}

/// An action, and where it runs.
pub struct PreparedAction {
    pub context: ActionContext,
    /// As of a hook.
    pub seen: HookWrites,
    /// Names the charm's files.
    pub digest: String,
    pub instance: String,
}

/// `None` if its unit, or what that stands on, is gone.
pub fn of_action(model: &Model, action: &Action) -> Option<PreparedAction> {
    let unit = model.units.get(&action.unit)?;
    let Provision::Running { instance, .. } = &model.machines.get(&unit.machine)?.provision else { return None };
    let charm = model.charm_of(unit)?;
    let declared = charm.meta.actions.get(&action.name).map(ActionDecl::options).unwrap_or_default();
    let (hook, seen) = of(model, &action.unit, &Hook::Action(action.name.clone()))?;
    let context = ActionContext {
        hook,
        params: config::effective(&declared, &action.params),
        secret_params: action.secret.iter().cloned().collect(),
        timeout: action.timeout.map(|millis| Duration::from_millis(millis.unsigned_abs())),
    };
    Some(PreparedAction { context, seen, digest: charm.digest.clone(), instance: instance.clone() })
}

/// What is committed: what the hook saw, and what it wrote.
pub fn writes(seen: HookWrites, outcome: HookOutcome) -> HookWrites {
    HookWrites {
        settings: outcome.relation_settings.into_iter().collect(),
        leader: outcome.leader_settings,
        opened: outcome.opened,
        closed: outcome.closed,
        state: outcome.state,
        ..seen
    }
}

fn remote_version(model: &Model, hook: &Hook) -> u64 {
    let Hook::Relation { relation, kind: RelationHook::Changed(remote), .. } = hook else { return 0 };
    let member = model.relations.get(relation).and_then(|relation| relation.members.get(remote));
    member.map_or(0, |member| member.version)
}

fn relation_context(relation: &Relation, unit: &Unit, hook: &Hook) -> Option<RelationContext> {
    let endpoint = relation.endpoint_of(&unit.name.service)?.endpoint.clone();
    let local = relation.members.get(&unit.name).map(|member| member.settings.clone()).unwrap_or_default();
    let remotes: BTreeMap<UnitName, Settings> = relation
        .remotes_of(&unit.name)
        .filter(|(_, member)| member.presence == Presence::Entered)
        .filter(|(remote, _)| !is_departing(hook, relation.id, remote) && !is_broken(hook, relation.id))
        .map(|(remote, member)| (remote.clone(), member.settings.clone()))
        .collect();
    let departed = match hook {
        Hook::Relation { relation: id, kind: RelationHook::Departed(remote), .. } if *id == relation.id => {
            relation.members.get(remote).map(|member| (remote.clone(), member.settings.clone()))
        }
        _ => None,
    };
    let remote_service = relation.remote_service(&unit.name.service).clone();
    Some(RelationContext { endpoint, remote_service, local, remotes, departed })
}

fn is_departing(hook: &Hook, id: RelationId, unit: &UnitName) -> bool {
    matches!(hook, Hook::Relation { relation, kind: RelationHook::Departed(remote), .. } if *relation == id && remote == unit)
}

fn is_broken(hook: &Hook, id: RelationId) -> bool {
    matches!(hook, Hook::Relation { relation, kind: RelationHook::Broken, .. } if *relation == id)
}
