//! A hook begins: is it its turn?

use encanto::charm::HookContext;
use encanto::model::{Hook, RelationHook, RelationId, UnitName};

use super::{Oracle, Run, UnitSeen};

impl Oracle {
    /// The hook or action that `context` names begins on its machine.
    pub fn begins(&mut self, context: &HookContext) {
        let (name, hook) = (&context.unit, &context.hook);
        let Some(unit) = self.units.get(name) else {
            self.problems.push(format!("{name} is gone, and {hook} begins"));
            return;
        };
        let others = self.units.iter().filter(|(other, seen)| *other != name && seen.machine == unit.machine);
        let busy = |seen: &UnitSeen| seen.run.as_ref().is_some_and(|run| run.end.is_none());
        let at_work = others.filter(|(_, seen)| busy(seen)).map(|(other, _)| format!("{other} is at work"));
        let mut wrong: Vec<String> = at_work.chain(self.actions_on(unit.machine)).collect();
        if busy(unit) {
            wrong.push("another hook of it runs".to_owned());
        }
        if context.machine != unit.machine || !self.up.contains(&unit.machine) {
            wrong.push(format!("its machine is {}, which is to be up", unit.machine));
        }
        if context.is_leader != (self.leader(&name.service) == Some(name)) {
            wrong.push("it is told wrongly whether it leads".to_owned());
        }
        if context.state != unit.state {
            wrong.push("it is not shown the state that was written last".to_owned());
        }
        for (id, seen) in &context.relations {
            let Some(relation) = self.relations.get(id) else { continue };
            let strangers = seen.remotes.keys().filter(|remote| !self.connects(relation, name, remote));
            wrong.extend(strangers.map(|remote| format!("it is shown {remote}, a stranger")));
        }
        self.problems.extend(wrong.into_iter().map(|reason| format!("{name}: {hook} begins: {reason}")));
        if matches!(hook, Hook::Action(_)) {
            self.action_begins(context);
            return;
        }
        // What ended and was not written down did not count.
        self.cut_off(name);
        self.in_turn(name, hook);
        self.in_order(name, hook);
        self.note(context);
    }

    fn note(&mut self, context: &HookContext) {
        let ticks = self.services.get(&context.unit.service).map_or(0, |service| service.ticks);
        let Some(unit) = self.units.get_mut(&context.unit) else { return };
        let (saw, due) = match &context.hook {
            Hook::ConfigChanged => (Some(format!("{:?}", context.config)), Some(&mut unit.config_due)),
            Hook::LeaderSettingsChanged => (Some(format!("{:?}", context.leader_settings)), Some(&mut unit.led_due)),
            Hook::Relation { relation, kind: RelationHook::Changed(remote), .. } => {
                let seen = context.relations.get(relation).and_then(|relation| relation.remotes.get(remote));
                let joined = unit.scopes.get_mut(relation).and_then(|scope| scope.joined.get_mut(remote));
                (seen.map(|settings| format!("{settings:?}")), joined.map(|remote| &mut remote.due))
            }
            _ => (None, None),
        };
        let was_due = due.is_some_and(std::mem::take);
        if !was_due && saw.is_some() {
            self.problems.push(format!("{}: {} for no reason", context.unit, context.hook));
        }
        let run = Run { hook: context.hook.clone(), saw, was_due, ticks, end: None };
        unit.again = None;
        unit.run = Some(run);
    }

    /// What only matters for what really begins: an operator may have been between the decision and a commit.
    fn in_turn(&mut self, name: &UnitName, hook: &Hook) {
        let Some(unit) = self.units.get(name) else { return };
        let ticks = self.services.get(&name.service).map_or(0, |service| service.ticks);
        let mut wrong: Vec<String> = Vec::new();
        if let Some(failed) = unit.failed.as_ref().filter(|_| !unit.dying) {
            wrong.push(format!("it is in error at {failed}"));
        }
        if let Some((again, then)) = &unit.again
            && *then == ticks
            && again != hook
        {
            wrong.push(format!("{again} is to be repeated, and nothing happened since"));
        }
        let ending =
            matches!(hook, Hook::Stop | Hook::Relation { kind: RelationHook::Departed(_) | RelationHook::Broken, .. });
        if unit.dying && !ending {
            wrong.push("it is dying".to_owned());
        }
        if unit.upgrading && !unit.dying && *hook != Hook::UpgradeCharm {
            wrong.push("upgrade-charm comes first".to_owned());
        }
        match hook {
            Hook::UpgradeCharm if !unit.upgrading => wrong.push("its charm is the same".to_owned()),
            Hook::Stop if !unit.dying => wrong.push("it is not dying".to_owned()),
            Hook::Stop if unit.scopes.values().any(|scope| !scope.gone) => {
                wrong.push("it has not left all its relations".to_owned());
            }
            Hook::LeaderElected if self.leader(&name.service) != Some(name) => wrong.push("another leads".to_owned()),
            Hook::LeaderSettingsChanged if self.leader(&name.service) == Some(name) => {
                wrong.push("it leads itself".to_owned());
            }
            Hook::Relation { relation, kind, .. } => wrong.extend(self.cause(name, *relation, kind)),
            _ => {}
        }
        self.problems.extend(wrong.into_iter().map(|reason| format!("{name}: {hook} begins: {reason}")));
    }

    /// What a relation hook must follow from, if it does not.
    pub(super) fn cause(&self, name: &UnitName, id: RelationId, kind: &RelationHook) -> Option<String> {
        let unit = self.units.get(name)?;
        let Some(relation) = self.relations.get(&id) else { return Some(format!("there is no relation {id}")) };
        let ends = unit.dying || relation.dying;
        match kind {
            RelationHook::Created | RelationHook::Joined(_) if ends => Some("the relation ends".to_owned()),
            RelationHook::Joined(remote) | RelationHook::Changed(remote) if !self.connects(relation, name, remote) => {
                Some(format!("{remote} is not at the other side"))
            }
            RelationHook::Joined(remote) | RelationHook::Changed(remote) if !self.entered(id, remote) => {
                Some(format!("{remote} is not in relation {id}"))
            }
            RelationHook::Departed(remote) if !ends && self.entered(id, remote) => {
                Some(format!("{remote} is still there"))
            }
            RelationHook::Broken if !ends => Some("the relation does not end".to_owned()),
            _ => None,
        }
    }

    /// The order of hooks, whether its charm has them or not.
    pub(super) fn in_order(&mut self, name: &UnitName, hook: &Hook) {
        let Some(unit) = self.units.get(name) else { return };
        let mut wrong: Vec<String> = Vec::new();
        let mut must = |holds: bool, reason: &str| {
            if !holds {
                wrong.push(reason.to_owned());
            }
        };
        must(!unit.stopped, "it has stopped");
        must(unit.installed || matches!(hook, Hook::Install | Hook::Prepare), "it is not installed");
        match hook {
            Hook::Install => must(!unit.installed, "it is installed already"),
            Hook::Start => {
                must(unit.configured, "config-changed did not run");
                must(!unit.started, "it has started already");
            }
            Hook::Stop => must(unit.started, "it has not started"),
            Hook::UpdateStatus => must(unit.started && !unit.dying, "it is not at work"),
            Hook::LeaderElected => must(!unit.elected, "it was told already"),
            Hook::Relation { relation, kind, .. } => wrong.extend(self.relation_order(name, *relation, kind)),
            _ => {}
        }
        wrong.extend(self.after_joined(unit, hook));
        self.problems.extend(wrong.into_iter().map(|reason| format!("{name}: {hook}: {reason}")));
    }

    fn relation_order(&self, name: &UnitName, id: RelationId, kind: &RelationHook) -> Option<String> {
        let unit = self.units.get(name)?;
        let Some(scope) = unit.scopes.get(&id) else { return Some("it was not admitted".to_owned()) };
        let peer = self.relations.get(&id).is_some_and(|relation| relation.endpoints.len() == 1);
        let joined = |remote: &UnitName| scope.joined.contains_key(remote);
        let wrong = match kind {
            _ if scope.gone => "it has left the relation",
            RelationHook::Created if scope.created => "it ran already",
            RelationHook::Created => return None,
            _ if !scope.created => "created did not run",
            RelationHook::Joined(_) if !unit.started => "it has not started",
            RelationHook::Joined(remote) if joined(remote) => "that unit joined already",
            RelationHook::Changed(remote) | RelationHook::Departed(remote) if !joined(remote) => {
                "that unit did not join"
            }
            RelationHook::Broken if peer => "a peer relation is never broken",
            RelationHook::Broken if !scope.joined.is_empty() => "not all have departed",
            _ => return None,
        };
        Some(wrong.to_owned())
    }

    /// Right after joined comes changed; removal, a remote unit that is gone, or another charm may come in between.
    fn after_joined(&self, unit: &UnitSeen, hook: &Hook) -> Option<String> {
        let mut waiting = unit.scopes.iter().flat_map(|(id, scope)| {
            scope.joined.iter().filter(|(_, remote)| !remote.changed).map(|(remote, _)| (*id, remote))
        });
        let (id, remote) = waiting.next()?;
        let fits = match hook {
            Hook::Relation { relation, kind: RelationHook::Changed(about), .. } => *relation == id && about == remote,
            Hook::Relation { kind: RelationHook::Departed(_), relation, .. } => {
                unit.dying || *relation == id && !self.entered(id, remote)
            }
            Hook::Relation { kind: RelationHook::Broken, .. } => unit.dying,
            Hook::UpgradeCharm | Hook::Prepare => unit.upgrading,
            _ => false,
        };
        (!fits).then(|| format!("{remote} joined relation {id}, and its changed comes next"))
    }
}

impl Oracle {
    /// For tests that have no machines: a hook begins, and ends at once.
    #[allow(dead_code, reason = "not every test that uses the oracle needs it")]
    pub fn ran(&mut self, context: &HookContext, end: super::End) {
        self.begins(context);
        self.ends(context, end);
    }

    #[allow(dead_code, reason = "as above")]
    pub fn is_busy(&self) -> Option<&UnitName> {
        let busy = |unit: &UnitSeen| unit.run.as_ref().is_some_and(|run| run.end.is_none());
        self.units.iter().find(|(_, unit)| busy(unit)).map(|(name, _)| name)
    }
}
