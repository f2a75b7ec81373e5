//! Who shares a container with whom: principals, their subordinates, and the relations that bring these together.

use super::entities::{Life, Machine, Service, Unit};
use super::names::{RelationId, ServiceName, UnitName};
use super::state::Model;

impl Model {
    /// Units of the machine that are no one's subordinates.
    pub fn principals_on<'a>(&'a self, machine: &'a Machine) -> impl Iterator<Item = &'a Unit> + 'a {
        machine.units.iter().filter_map(|name| self.units.get(name)).filter(|unit| unit.principal.is_none())
    }

    /// Whether units of `principal` have one of the subordinate service with them.
    pub fn brings(&self, principal: &ServiceName, subordinate: &Service) -> bool {
        subordinate.relations.iter().filter_map(|id| self.relations.get(id)).any(|relation| {
            relation.life == Life::Alive
                && relation.is_container_scoped()
                && relation.remote_service(&subordinate.name) == principal
        })
    }

    /// Whether the unit takes part in this relation of its service, and may begin to: a subordinate belongs to those
    /// container-scoped relations that lead to its own principal, and a principal does not begin while its last
    /// subordinate of that service is still leaving.
    pub fn may_enter(&self, unit: &UnitName, relation: RelationId) -> bool {
        let (Some(unit), Some(relation)) = (self.units.get(unit), self.relations.get(&relation)) else { return false };
        if unit.life == Life::Dying || relation.life == Life::Dying {
            return false;
        }
        if !relation.is_container_scoped() {
            return true;
        }
        let other = relation.remote_service(&unit.name.service);
        match &unit.principal {
            Some(principal) => principal.service == *other || self.is_subordinate(other),
            None => {
                let former = self.subordinate_of(&unit.name, other).and_then(|name| self.units.get(&name));
                former.is_none_or(|former| former.life == Life::Alive)
            }
        }
    }

    pub fn is_subordinate(&self, service: &ServiceName) -> bool {
        let charm = self.services.get(service).and_then(|service| self.charms.get(&service.charm));
        charm.is_some_and(|charm| charm.meta.subordinate)
    }

    /// The unit of `service` that was made for `principal`.
    pub fn subordinate_of(&self, principal: &UnitName, service: &ServiceName) -> Option<UnitName> {
        let bound = |number| UnitName { service: service.clone(), number };
        let subordinates = &self.units.get(principal)?.subordinates;
        subordinates.range(bound(0)..=bound(u32::MAX)).next().cloned()
    }

    /// In a container-scoped relation, the unit of the other service in the same container.
    pub(super) fn opposite(&self, name: &UnitName, id: RelationId) -> Option<UnitName> {
        let relation = self.relations.get(&id).filter(|relation| relation.is_container_scoped())?;
        let other = relation.remote_service(&name.service);
        let container = self.units.get(name)?.principal.as_ref().unwrap_or(name);
        let own = (container.service == *other).then(|| container.clone());
        own.or_else(|| self.subordinate_of(container, other)).filter(|opposite| opposite != name)
    }
}
