//! What hooks and actions write, and who has a reason to look because of it.

use encanto::model::{HookWrites, RelationId, Settings, SettingsChange, UnitName};

use super::Oracle;

impl Oracle {
    pub(super) fn wrote_all(&mut self, name: &UnitName, writes: &HookWrites) {
        if let (Some(unit), Some(state)) = (self.units.get_mut(name), &writes.state) {
            unit.state = state.clone();
        }
        for (relation, change) in &writes.settings {
            self.wrote(name, *relation, change);
        }
        if writes.leader.is_empty() {
            return;
        }
        if self.leader(&name.service) != Some(name) {
            self.problems.push(format!("{name} wrote as the leader, who is another"));
        }
        let changed =
            self.services.get_mut(&name.service).is_some_and(|service| overlay(&mut service.led, &writes.leader));
        self.units_of(&name.service).filter(|_| changed).for_each(|unit| unit.led_due = true);
    }

    fn wrote(&mut self, name: &UnitName, id: RelationId, change: &SettingsChange) {
        let Some(relation) = self.relations.get_mut(&id) else { return };
        if !overlay(relation.settings.entry(name.clone()).or_default(), change) {
            return;
        }
        let who_knows = self.units.values_mut().filter_map(|unit| unit.scopes.get_mut(&id)?.joined.get_mut(name));
        who_knows.for_each(|remote| remote.due = true);
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
