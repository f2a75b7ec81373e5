//! At rest: everybody has seen what there is, and nothing is half done.

use encanto::model::{Hook, Model, RelationId, ServiceName, UnitName};

use super::{Oracle, UnitSeen};

impl Oracle {
    /// What is still to be done although everyone says there is nothing. `model` is asked for values only.
    pub fn at_rest(&mut self, model: &Model) -> Vec<String> {
        let mut found = self.problems();
        found.extend(self.actions_left(model));
        let well = |unit: &UnitSeen| unit.failed.is_none() && !unit.dying && self.takes_work(unit.machine);
        for (name, unit) in &self.units {
            // What only looked, and wrote nothing, is not written down; nor what lost its cause while the disk was full,
            // nor what would have to run again where an operator has stopped the machine since.
            let counts = |hook: &Hook| match hook {
                Hook::UpdateStatus => false,
                Hook::Relation { relation, kind, .. } => self.cause(name, *relation, kind).is_none(),
                _ => true,
            };
            if let Some(run) = unit.run.as_ref().filter(|run| counts(&run.hook) && self.takes_work(unit.machine)) {
                found.push(format!("{name}: {} was never written down", run.hook));
            }
            if well(unit) {
                found.extend(self.unfinished(model, name, unit).into_iter().map(|what| format!("{name} {what}")));
            }
        }
        // Whoever is in error, or has no machine, may hold up what others wait for.
        if self.units.values().all(|unit| unit.dying || well(unit)) {
            let units = self.units.iter().filter(|(_, unit)| unit.dying).map(|(name, _)| format!("{name} is dying"));
            let services = self.services.iter().filter(|(_, service)| service.dying);
            let relations = self.relations.iter().filter(|(_, relation)| relation.dying);
            found.extend(units);
            found.extend(services.map(|(name, _)| format!("service {name} is dying")));
            found.extend(relations.map(|(id, _)| format!("relation {id} is dying")));
        }
        found
    }

    fn unfinished(&self, model: &Model, name: &UnitName, unit: &UnitSeen) -> Vec<String> {
        let mut found = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                found.push(what.to_owned());
            }
        };
        must(unit.installed && unit.configured && unit.started, "has not started");
        must(!unit.upgrading, "was not upgraded");
        let leads = self.leader(&name.service) == Some(name);
        must(unit.elected || !leads || !self.is_declared(name, &Hook::LeaderElected), "does not know that it leads");
        let told = leads || !unit.led_due || !self.is_declared(name, &Hook::LeaderSettingsChanged);
        must(told, "has not seen what its leader says");
        let config = model.services.get(&name.service).map(|service| model.effective_config(service));
        let seen = unit.config.as_ref();
        must(
            seen.is_none() || seen == config.map(|config| format!("{config:?}")).as_ref(),
            "has not seen its configuration",
        );
        for (id, relation) in self.relations.iter().filter(|(_, r)| r.has(&name.service) && !r.dying) {
            let other = relation.other(&name.service);
            if relation.is_container() && self.company(&unit.home, other).next().is_none() {
                // A principal is to have company; a subordinate is not concerned by what others' have.
                let lacks = unit.home == *name && self.is_subordinate(other);
                found.extend(lacks.then(|| format!("has no unit of {other} with it")));
                continue;
            }
            let remotes = self.units.keys().filter(|remote| self.connects(relation, name, remote));
            let remotes: Vec<&UnitName> = remotes.filter(|remote| self.entered(*id, remote)).collect();
            found.extend(self.unseen(model, (name, unit), *id, &remotes));
        }
        found
    }

    fn is_subordinate(&self, service: &ServiceName) -> bool {
        let charm = self.services.get(service).and_then(|service| self.charms.get(&service.charm));
        charm.is_some_and(|meta| meta.subordinate)
    }

    fn unseen(
        &self,
        model: &Model,
        (name, unit): (&UnitName, &UnitSeen),
        id: RelationId,
        remotes: &[&UnitName],
    ) -> Vec<String> {
        let Some(scope) = unit.scopes.get(&id).filter(|scope| scope.created) else {
            return vec![format!("is not in relation {id}")];
        };
        let mut found: Vec<String> = Vec::new();
        let gone = scope.joined.keys().filter(|remote| !remotes.contains(remote));
        found.extend(gone.map(|remote| format!("does not know that {remote} left relation {id}")));
        for remote in remotes {
            let Some(seen) = scope.joined.get(*remote).filter(|seen| seen.changed) else {
                found.push(format!("has not met {remote} in relation {id}"));
                continue;
            };
            let settings = model.relations.get(&id).and_then(|relation| relation.members.get(*remote));
            let settings = settings.map(|member| format!("{:?}", member.settings));
            if seen.settings.is_some() && seen.settings != settings {
                found.push(format!("{name} has not seen what {remote} says in relation {id}"));
            }
        }
        found
    }
}
